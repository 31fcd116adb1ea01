import type { Payload, PayloadCodec, SerializationContext } from '@temporalio/common';
import { CodecServerError } from './errors';
import { fromJson, toJson, type JsonPayload } from './payload-json';
import { Token, type TokenSource } from './token';

export interface RemoteCodecOptions {
  /** Of the codec server, without `/encode` and `/decode`: `https://codec.example.com`. */
  url: string;
  /** To seal for. It goes into the header `X-Namespace`. Where the SDK names a namespace, that one counts. */
  namespace: string;
  token?: TokenSource;
  /** Milliseconds for one payload list, retries included. Default 30,000. */
  deadline?: number;
  /** Milliseconds for one request. Default 10,000. */
  requestTimeout?: number;
  /** Requests under way at a time; the server's `max_requests_per_caller` bounds them too. Default 8. */
  concurrency?: number;
  /** Payloads in one request: at most the server's `max_payloads`. Default 1,000. */
  maxPayloads?: number;
  /** Bytes of one request, and of its answer: at most the server's `body_limit`. Default 16 MiB. */
  maxBytes?: number;
  /** Let plaintext travel over `http` to another machine: only where the network itself encrypts (a mesh). */
  allowHttp?: boolean;
}

type Verb = 'encode' | 'decode';

const SEALED = 'binary/envelope-v1';
const RETRYABLE = new Set([408, 429, 500, 502, 503, 504]);
const FIRST_DELAY = 100; // milliseconds
const LONGEST_DELAY = 5_000;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * Seals and opens payloads by asking a codec server.
 *
 * It returns what the server made of all payloads, or throws a `CodecServerError`. It never returns a payload in clear
 * that was to be sealed, nor one that is still sealed and was to be opened. Connections are kept alive by Node's `fetch`.
 */
export class RemoteCodec implements PayloadCodec {
  private readonly url: string;
  private readonly token?: Token;
  private readonly options: Required<Omit<RemoteCodecOptions, 'token'>>;
  private free: number;
  private readonly waiting: Array<() => void> = [];

  constructor({ token, ...options }: RemoteCodecOptions) {
    this.options = {
      deadline: 30_000,
      requestTimeout: 10_000,
      concurrency: 8,
      maxPayloads: 1_000,
      maxBytes: 16 << 20,
      allowHttp: false,
      ...options,
    };
    this.url = checkUrl(options.url, this.options.allowHttp);
    if (!options.namespace) throw new TypeError('namespace: say which one to seal for');
    this.token = token === undefined ? undefined : new Token(token);
    this.free = this.options.concurrency;
  }

  async encode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    const sealed = await this.send('encode', payloads, context);
    // A server with `sealing = false` gives payloads back as they were. They must not leave this process.
    if (sealed.some((payload) => encodingOf(payload) !== SEALED)) {
      throw new CodecServerError('the codec server did not seal the payloads', false, 200);
    }
    return sealed;
  }

  async decode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    // What is not sealed needs no server. It passes, as in Python without `require_encryption`.
    const sealed = payloads.filter((payload) => encodingOf(payload).startsWith('binary/'));
    const opened = await this.send('decode', sealed, context);
    const byPayload = new Map(sealed.map((payload, index) => [payload, opened[index]!]));
    return payloads.map((payload) => byPayload.get(payload) ?? payload);
  }

  /** Send the payloads in as few requests as the limits allow. */
  private async send(verb: Verb, payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    const until = Date.now() + this.options.deadline;
    const namespace = namespaceOf(context) ?? this.options.namespace;
    const done: Payload[][] = [];
    for (const batch of this.batches(payloads.map(toJson))) {
      done.push(fromJson(await this.retry(verb, batch, namespace, until), batch.length));
    }
    return done.flat();
  }

  private *batches(payloads: JsonPayload[]): Generator<string[]> {
    const { maxPayloads, maxBytes } = this.options;
    let batch: string[] = [];
    let size = 0;
    for (const payload of payloads) {
      const text = JSON.stringify(payload);
      const bytes = Buffer.byteLength(text) + 1;
      if (bytes + 16 > maxBytes) throw new CodecServerError('a payload is larger than the codec server takes', false);
      if (batch.length === maxPayloads || size + bytes + 16 > maxBytes) {
        yield batch;
        [batch, size] = [[], 0];
      }
      batch.push(text);
      size += bytes;
    }
    if (batch.length > 0) yield batch;
  }

  private async retry(verb: Verb, batch: string[], namespace: string, until: number): Promise<string> {
    const body = `{"payloads":[${batch.join(',')}]}`;
    let renewed = false;
    for (let failures = 0; ; failures++) {
      let token: string | undefined;
      try {
        token = await this.currentToken();
        return await this.inTurn(() => this.ask(verb, body, namespace, token, until));
      } catch (error) {
        if (!(error instanceof CodecServerError)) throw error;
        if (error.status === 401 && !renewed && this.token !== undefined) {
          renewed = true;
          if ((await this.currentToken(token)) !== token) continue;
        }
        // Full jitter, and never earlier than the server has asked for.
        const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
        const delay = error.retryAfter + Math.random() * longest;
        if (!error.retryable || Date.now() + delay >= until) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  }

  private async currentToken(refused?: string): Promise<string | undefined> {
    try {
      return await this.token?.get(refused);
    } catch {
      throw new CodecServerError('no token for the codec server could be had', true);
    }
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve)); // its turn is handed over
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }

  private async ask(verb: Verb, body: string, namespace: string, token: string | undefined, until: number) {
    const timeout = Math.min(this.options.requestTimeout, until - Date.now());
    if (timeout <= 0) throw unreachable();
    const headers: Record<string, string> = { 'Content-Type': 'application/json', 'X-Namespace': namespace };
    if (token) headers.Authorization = `Bearer ${token}`;
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.url}/${verb}`, {
        method: 'POST',
        headers,
        body,
        redirect: 'error', // the plaintext is for this server alone
        signal: AbortSignal.timeout(Math.ceil(timeout)),
      });
      text = await readBody(response, 2 * this.options.maxBytes);
    } catch (error) {
      throw error instanceof CodecServerError ? error : unreachable(); // their words hold the address
    }
    if (response.status !== 200) throw refusal(response, text);
    if (response.headers.get('X-Envelope-Failed')) {
      throw new CodecServerError('the codec server could not open all payloads', true, 200);
    }
    return text;
  }
}

function checkUrl(text: string, allowHttp: boolean): string {
  const url = new URL(text);
  const local = url.protocol === 'http:' && (allowHttp || LOOPBACK.test(url.hostname));
  if (url.protocol !== 'https:' && !local) throw new TypeError('url: plaintext must travel over https');
  if (url.username || url.password || url.search || url.hash) throw new TypeError('url: only scheme, host and path');
  return url.href.replace(/\/+$/, '');
}

function encodingOf(payload: Payload): string {
  return Buffer.from(payload.metadata?.encoding ?? []).toString('latin1');
}

function namespaceOf(context?: SerializationContext): string | undefined {
  return (context as { namespace?: string } | undefined)?.namespace || undefined;
}

/** Read the body as far as it may go, so that no server can fill the memory of a worker. */
async function readBody(response: Response, limit: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.byteLength;
    if (size > limit) throw new CodecServerError('the answer of the codec server is too large', false, response.status);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function refusal(response: Response, text: string): CodecServerError {
  let code = '';
  try {
    const said: unknown = JSON.parse(text).error;
    if (typeof said === 'string' && /^[a-z_]{1,40}$/.test(said)) code = ` ${said}`;
  } catch {
    // a proxy's page
  }
  const seconds = Number(response.headers.get('Retry-After') ?? 0);
  const pause = Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : 0;
  const words = `the codec server refused: ${response.status}${code}`;
  return new CodecServerError(words, RETRYABLE.has(response.status), response.status, pause);
}

function unreachable(): CodecServerError {
  return new CodecServerError('the codec server did not answer', true);
}
