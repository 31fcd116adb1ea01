import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as the codec sent it. */
export interface Asked {
  path: string;
  headers: http.IncomingHttpHeaders;
  body: string;
  port: number;
}

export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** An HTTP server whose answers a test decides. */
export class ScriptedServer {
  readonly asked: Asked[] = [];
  private readonly server: http.Server;

  private constructor(answer: (asked: Asked, number: number) => Reply | 'hang up') {
    this.server = http.createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part);
      const body = Buffer.concat(parts).toString();
      const asked = { path: request.url!, headers: request.headers, body, port: request.socket.remotePort! };
      const reply = answer(asked, this.asked.push(asked));
      if (reply === 'hang up') return void request.socket.destroy();
      const { status = 200, headers = {} } = reply;
      response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
      response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body ?? {}));
    });
  }

  static async run<T>(
    answer: (asked: Asked, number: number) => Reply | 'hang up',
    work: (server: ScriptedServer) => Promise<T>,
  ): Promise<T> {
    const running = new ScriptedServer(answer);
    await new Promise<void>((resolve) => running.server.listen(0, '127.0.0.1', resolve));
    try {
      return await work(running);
    } finally {
      running.server.closeAllConnections();
      await new Promise((resolve) => running.server.close(resolve));
    }
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
}

/** Answers as a codec server would that turns `base64` data around: enough to tell sealed from opened. */
export function seal({ path, body }: Asked): Reply {
  const { payloads } = JSON.parse(body) as { payloads: Array<Record<string, any>> };
  const sealed = (payload: object) => ({
    metadata: { encoding: encode('binary/envelope-v1') },
    data: encode(JSON.stringify(payload)),
  });
  const opened = (payload: Record<string, any>) => JSON.parse(Buffer.from(payload.data, 'base64').toString());
  return { body: { payloads: payloads.map(path.endsWith('/encode') ? sealed : opened) } };
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}
