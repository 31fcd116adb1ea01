import { readFile } from 'node:fs/promises';

/** The bearer token: a text, a file that somebody renews, or a function that fetches one. */
export type TokenSource = string | { file: string } | (() => string | Promise<string>);

const KEPT = 60_000; // milliseconds

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
    if (typeof source === 'string') return source;
    return (typeof source === 'function' ? await source() : await readFile(source.file, 'utf8')).trim();
  }
}
