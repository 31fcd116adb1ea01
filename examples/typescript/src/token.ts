import { readFile } from 'node:fs/promises';

/** The bearer token: a text, a file that somebody renews, or a function that fetches one. */
export type TokenSource = string | { file: string } | (() => string | Promise<string>);

const KEPT = 60_000; // milliseconds
const TOKEN = /^[\x21-\x7e]+$/; // no line break may come into a header

/** The token to send. It is read again after a minute, and when the server has refused it. */
export class Token {
  private kept?: Promise<string>;
  private until = 0;

  constructor(private readonly source: TokenSource) {}

  /** @param refused the token that the server has refused, if it has */
  async get(refused?: string): Promise<string> {
    const known = this.kept;
    // Many requests may be refused at once: the first of them has it read again.
    const stale = Date.now() >= this.until || (refused !== undefined && known !== undefined && (await known) === refused);
    if (known === undefined || (stale && known === this.kept)) {
      this.until = Date.now() + KEPT;
      this.kept = this.read();
      this.kept.catch(() => (this.until = 0));
    }
    return this.kept!;
  }

  private async read(): Promise<string> {
    const { source } = this;
    const text = typeof source === 'string' ? source : typeof source === 'function' ? await source() : await read(source);
    const token = text.trim();
    if (!TOKEN.test(token)) throw new Error('no token');
    return token;
  }
}

function read({ file }: { file: string }): Promise<string> {
  return readFile(file, 'utf8');
}
