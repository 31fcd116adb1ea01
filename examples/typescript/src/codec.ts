import type { Payload, PayloadCodec, SerializationContext } from '@temporalio/common';
import { Connection, type Answer, type Tls } from './connection';
import { CodecServerError } from './errors';
import { fromJson, samePayload, toJson } from './payload-json';
import { Token, type TokenSource } from './token';
import { Turns } from './turns';

export interface RemoteCodecOptions {
  /** Of the codec server, without `/encode` and `/decode`: `https://codec.example.com`. */
  url: string;
  /** To seal for, where Temporal's SDK names no namespace. It goes into the header `X-Namespace`. */
  namespace: string;
  token?: TokenSource;
  tls?: Tls;
  /** Let plaintext travel over `http` to another machine: only where the network itself encrypts (a mesh). */
  allowHttp?: boolean;
  /** Encodings of other codecs that the server opens as well (its `legacy_codecs`), such as `binary/encrypted`. */
  legacyEncodings?: string[];
  /** Milliseconds for one list of payloads, retries included. Default 30,000. */
  deadline?: number;
  /** Milliseconds for one request. Default 10,000. */
  requestTimeout?: number;
  /** Requests under way at a time; the server's `max_requests_per_caller` bounds them too. Default 8. */
  concurrency?: number;
  /** Payloads in one request: at most the server's `max_payloads`. Default 1,000. */
  maxPayloads?: number;
  /** Bytes of a request: far below the server's `body_limit`. A larger payload goes alone. Default 4 MiB. */
  maxBytes?: number;
  /** Bytes of an answer. Default 64 MiB. */
  maxAnswerBytes?: number;
}

type Verb = 'encode' | 'decode';

const SEALED = 'binary/envelope-v1';
const ENVELOPE = 'binary/envelope-'; // of any version: the server says that it does not know one
const PASSING = new Set([408, 429, 502, 503, 504]); // of HTTP; they say nothing of the payloads
const OUTAGES = new Set(['kms_unavailable', 'storage_unavailable', 'keys_unavailable', 'audit_unavailable', 'busy']);
const FIRST_DELAY = 100; // milliseconds
const LONGEST_DELAY = 5_000;
const NAMESPACE = /^[\x21-\x7e]+$/;

/**
 * Seals and opens payloads by asking a codec server.
 *
 * It returns what the server made of all payloads, or throws a `CodecServerError`. It never returns a payload in clear
 * that was to be sealed, nor one that is still sealed and was to be opened.
 */
export class RemoteCodec implements PayloadCodec {
  private readonly options: Required<Omit<RemoteCodecOptions, 'url' | 'token' | 'tls'>>;
  private readonly connection: Connection;
  private readonly token?: Token;
  private readonly turns: Turns;
  private readonly final = new WeakSet<Payload>();

  constructor({ url, token, tls, ...options }: RemoteCodecOptions) {
    this.options = {
      allowHttp: false,
      legacyEncodings: [],
      deadline: 30_000,
      requestTimeout: 10_000,
      concurrency: 8,
      maxPayloads: 1_000,
      maxBytes: 4 << 20,
      maxAnswerBytes: 64 << 20,
      ...options,
    };
    const { namespace, allowHttp, concurrency } = this.options;
    if (!NAMESPACE.test(namespace)) throw new TypeError('namespace: say which one to seal for');
    this.connection = new Connection(url, { tls, allowHttp, most: concurrency });
    this.token = token === undefined ? undefined : new Token(token);
    this.turns = new Turns(concurrency);
  }

  async encode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    const given = payloads.filter((payload) => !this.final.has(payload));
    const sealed = await this.send('encode', given, context?.namespace || this.options.namespace);
    // A server with `sealing = false` gives payloads back as they were. They must not leave this process.
    if (sealed.some((payload) => encodingOf(payload) !== SEALED)) {
      throw CodecServerError.because('did not seal the payloads', { status: 200 });
    }
    const next = sealed.values();
    return payloads.map((payload) => (this.final.has(payload) ? payload : next.next().value!));
  }

  /** As `encode`. What it returns passes through `encode` as it is: see `activity-failures.ts`. */
  async encodeFinally(payloads: Payload[]): Promise<Payload[]> {
    const sealed = await this.encode(payloads);
    for (const payload of sealed) this.final.add(payload);
    return sealed;
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    const opened = [...payloads]; // what is not sealed passes, as in Python without `require_encryption`
    const until = Date.now() + this.options.deadline;
    let left = payloads.flatMap((payload, index) => (this.opens(payload) ? [index] : []));
    while (left.length > 0) {
      const asked = left;
      const answers = await this.send('decode', asked.map((index) => payloads[index]!), this.options.namespace, until);
      // What could not be opened comes back as it was. The others are done. Of a request in which nothing can be opened
      // the server says why, so that an outage and a damaged payload are told apart.
      answers.forEach((answer, number) => (opened[asked[number]!] = answer));
      left = asked.filter((index) => samePayload(opened[index]!, payloads[index]!));
      if (left.length === asked.length) throw CodecServerError.because('did not open a payload', { status: 200 });
    }
    return opened;
  }

  /** End the connections that are kept alive. */
  close(): void {
    this.connection.close();
  }

  private opens(payload: Payload): boolean {
    const encoding = encodingOf(payload);
    return encoding.startsWith(ENVELOPE) || this.options.legacyEncodings.includes(encoding);
  }

  /** Send the payloads in as few requests as the limits allow. */
  private async send(
    verb: Verb,
    payloads: Payload[],
    namespace: string,
    until = Date.now() + this.options.deadline,
  ): Promise<Payload[]> {
    const done: Payload[] = [];
    for (const batch of this.batches(payloads)) {
      const { text } = await this.retry(verb, `{"payloads":[${batch.join(',')}]}`, namespace, until);
      for (const payload of fromJson(text, batch.length)) done.push(payload);
    }
    return done;
  }

  private *batches(payloads: Payload[]): Generator<string[]> {
    let batch: string[] = [];
    let size = 0;
    for (const payload of payloads) {
      const text = toJson(payload);
      const bytes = Buffer.byteLength(text) + 1;
      if (batch.length === this.options.maxPayloads || (batch.length > 0 && size + bytes > this.options.maxBytes)) {
        yield batch;
        [batch, size] = [[], 0];
      }
      batch.push(text);
      size += bytes;
    }
    if (batch.length > 0) yield batch;
  }

  private async retry(verb: Verb, body: string, namespace: string, until: number): Promise<Answer> {
    let renewed = false;
    for (let failures = 0; ; failures++) {
      let token: string | undefined;
      try {
        token = await this.currentToken(until);
        return await this.turns.take(() => this.ask(verb, body, namespace, token, until));
      } catch (error) {
        if (!(error instanceof CodecServerError)) throw error;
        if (error.status === 401 && !renewed && this.token !== undefined) {
          renewed = true;
          if ((await this.currentToken(until, token)) !== token) continue;
        }
        // Full jitter, and never earlier than the server has asked for.
        const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);
        const delay = error.retryAfter + Math.random() * longest;
        if (!error.retryable || Date.now() + delay >= until) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  }

  private async currentToken(until: number, refused?: string): Promise<string | undefined> {
    if (this.token === undefined) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(reject, Math.max(0, Math.min(this.options.requestTimeout, until - Date.now())));
    });
    try {
      return await Promise.race([this.token.get(refused), late]);
    } catch {
      throw CodecServerError.because('could not be asked: no token could be had', { retryable: true });
    } finally {
      clearTimeout(timer);
    }
  }

  private async ask(verb: Verb, body: string, namespace: string, token: string | undefined, until: number) {
    const timeout = Math.min(this.options.requestTimeout, until - Date.now());
    if (timeout <= 0) throw CodecServerError.because('did not answer', { retryable: true });
    const headers = {
      'Content-Type': 'application/json',
      'X-Namespace': namespace,
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    };
    const answer = await this.connection.post(verb, headers, body, { timeout, limit: this.options.maxAnswerBytes });
    if (answer.status !== 200) throw refusal(answer);
    return answer;
  }
}

function encodingOf(payload: Payload): string {
  return Buffer.from(payload.metadata?.encoding ?? []).toString('latin1');
}

function refusal({ status, headers, text }: Answer): CodecServerError {
  let code: unknown;
  try {
    code = JSON.parse(text).error;
  } catch {
    // a proxy's page
  }
  const seconds = Number(headers['retry-after'] ?? 0);
  const retryable = PASSING.has(status) || OUTAGES.has(String(code));
  return CodecServerError.refused(status, code, retryable, Number.isFinite(seconds) ? Math.max(0, seconds) * 1_000 : 0);
}
