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
   * @param message fixed words
   * @param retryable whether the same request may go well later
   * @param status of HTTP; 0 if there was no answer
   * @param retryAfter milliseconds that the server asked to wait
   */
  constructor(
    message: string,
    readonly retryable: boolean,
    readonly status = 0,
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}
