/** Everything that a `CodecServerError` may say, so that nothing else is ever taken for one. */
const WORDS = [
  'did not answer',
  'did not seal the payloads',
  'did not open a payload',
  'answered with something else than payloads',
  'gave too large an answer',
  'could not be asked: no token could be had',
] as const;

type Words = (typeof WORDS)[number];

const TEXT = new RegExp(`the codec server (?:${WORDS.join('|')}|refused: \\d{3}(?: [a-z_]{1,40})?)$`);

/**
 * The codec server gave no payloads.
 *
 * Temporal's SDK stores the text in history, in clear. So it is made of fixed words and of the server's error code. It
 * holds no payload, no address and no token. It is no `ApplicationFailure`: one of those would fail the workflow
 * itself, and this fails a task, which is tried again.
 */
export class CodecServerError extends Error {
  override readonly name = 'CodecServerError';

  /**
   * @param text fixed words
   * @param retryable whether the same request may go well later
   * @param status of HTTP; 0 if there was no answer
   * @param retryAfter milliseconds that the server asked to wait
   */
  private constructor(
    text: string,
    readonly retryable: boolean,
    readonly status: number,
    readonly retryAfter: number,
  ) {
    super(text);
  }

  static because(words: Words, { retryable = false, status = 0 } = {}): CodecServerError {
    return new CodecServerError(`the codec server ${words}`, retryable, status, 0);
  }

  /** @param code the server's own, for programs; left away unless it looks like one */
  static refused(status: number, code: unknown, retryable: boolean, retryAfter: number): CodecServerError {
    const known = typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? ` ${code}` : '';
    return new CodecServerError(`the codec server refused: ${status}${known}`, retryable, status, retryAfter);
  }
}

/**
 * The fixed words in an error that Temporal's SDK made of a `CodecServerError`, which keeps its name and the end of its
 * text; undefined for every other error.
 */
export function codecServerText(error: unknown): string | undefined {
  const { name, type, message } = (error ?? {}) as { name?: unknown; type?: unknown; message?: unknown };
  if (name !== 'CodecServerError' && type !== 'CodecServerError') return undefined;
  return TEXT.exec(String(message))?.[0];
}
