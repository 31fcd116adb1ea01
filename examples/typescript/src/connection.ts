import http from 'node:http';
import https from 'node:https';
import { CodecServerError } from './errors';

/** What `node:tls` takes: another authority than the system's, and a client's certificate. */
export type Tls = Pick<https.AgentOptions, 'ca' | 'cert' | 'key' | 'passphrase' | 'servername'>;

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

const IDLE = 30_000; // milliseconds; shorter than the codec server and load balancers keep connections
const MOST_OF_ERROR = 16 << 10; // bytes of an answer other than 200: it has a code to read, or is a proxy's page
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Connections to a codec server, which are kept alive. No redirect is followed: the plaintext is for this server. */
export class Connection {
  private readonly url: URL;
  private readonly agent: http.Agent;

  /** @param most connections that are open at a time */
  constructor(url: string, { tls, allowHttp = false, most }: { tls?: Tls; allowHttp?: boolean; most: number }) {
    this.url = checkUrl(url, allowHttp);
    const options = { keepAlive: true, maxSockets: most, timeout: IDLE };
    this.agent =
      this.url.protocol === 'https:'
        ? new https.Agent({ ...options, ...tls, rejectUnauthorized: true }) // whatever the environment says
        : new http.Agent(options);
  }

  /**
   * Send a request.
   *
   * @param timeout milliseconds, to the end of the answer
   * @param limit bytes that the answer may have; what is no 200 is cut off earlier
   */
  async post(
    path: string,
    headers: http.OutgoingHttpHeaders,
    body: string,
    { timeout, limit }: { timeout: number; limit: number },
  ): Promise<Answer> {
    const request = (this.url.protocol === 'https:' ? https : http).request(`${this.url.href}${path}`, {
      method: 'POST',
      agent: this.agent,
      headers: { ...headers, 'Content-Length': Buffer.byteLength(body) },
    });
    const timer = setTimeout(() => request.destroy(new Error('too slow')), timeout);
    try {
      const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
        request.on('response', resolve).on('error', reject).end(body);
      });
      const { statusCode: status = 0, headers: given } = response;
      const text = await readBody(response, status === 200 ? limit : MOST_OF_ERROR);
      if (text === undefined && status === 200) throw CodecServerError.because('gave too large an answer', { status });
      return { status, headers: given, text: text ?? '' };
    } catch (error) {
      if (error instanceof CodecServerError) throw error;
      throw CodecServerError.because('did not answer', { retryable: true }); // Node's own words hold the address
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.agent.destroy();
  }
}

function checkUrl(text: string, allowHttp: boolean): URL {
  let url: URL;
  try {
    url = new URL(text.endsWith('/') ? text : `${text}/`);
  } catch {
    throw new TypeError('url: not a URL');
  }
  const clear = url.protocol === 'http:' && (allowHttp || LOOPBACK.test(url.hostname));
  if (url.protocol !== 'https:' && !clear) throw new TypeError('url: plaintext must travel over https');
  if (url.username || url.password || url.search || url.hash) throw new TypeError('url: only scheme, host and path');
  return url;
}

/** The body, or undefined if it is larger than `limit`. It is not read further than that. */
async function readBody(response: http.IncomingMessage, limit: number): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.byteLength;
    if (size > limit) {
      response.destroy();
      return undefined;
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
