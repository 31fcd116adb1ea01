import type { Payload } from '@temporalio/common';
import Long from 'long';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { RemoteCodec, type RemoteCodecOptions } from '../codec';
import { encode, ScriptedServer, seal, type Asked, type Reply } from './scripted-server';

const SECRET = 'a secret of Ada';

function plain(text = SECRET): Payload {
  return { metadata: { encoding: bytes('json/plain') }, data: bytes(text) };
}

function envelope(text = SECRET): Payload {
  return { metadata: { encoding: bytes('binary/envelope-v1') }, data: bytes(text) };
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text));
}

function texts(payloads: Payload[]): string[] {
  return payloads.map(({ data }) => Buffer.from(data!).toString());
}

async function asking<T>(
  answer: (asked: Asked, number: number) => Reply | 'hang up',
  work: (codec: RemoteCodec, server: ScriptedServer) => Promise<T>,
  options: Partial<RemoteCodecOptions> = {},
): Promise<T> {
  return await ScriptedServer.run(answer, async (server) => {
    const codec = new RemoteCodec({ url: server.url, namespace: 'shop', ...options });
    try {
      return await work(codec, server);
    } finally {
      codec.close();
    }
  });
}

function failsWith(text: string) {
  return (error: Error) => {
    assert.equal(error.name, 'CodecServerError');
    assert.equal(error.message, text);
    assert.ok(!JSON.stringify({ ...error, stack: error.stack, cause: error.cause }).includes(SECRET));
    return true;
  };
}

test('what was sealed opens to the same payloads, in their order', async () => {
  const given = [plain('one'), { metadata: {}, data: bytes('') }, { ...plain('two'), externalPayloads: [{ sizeBytes: Long.fromString('9007199254740993') }] }];
  await asking(seal, async (codec) => {
    const opened = await codec.decode(await codec.encode(given));
    assert.deepEqual(texts(opened), ['one', '', 'two']);
    assert.deepEqual(opened[1]!.metadata, {});
    assert.equal(String(opened[2]!.externalPayloads![0]!.sizeBytes), '9007199254740993');
  });
});

test('no request is made for nothing, or for what is not sealed', async () => {
  await asking(seal, async (codec, server) => {
    assert.deepEqual(await codec.encode([]), []);
    const given = [plain(), { metadata: { encoding: bytes('binary/plain') }, data: bytes('x') }];
    assert.deepEqual(await codec.decode(given), given);
    assert.equal(server.asked.length, 0);
  });
});

test('encodings of legacy codecs are sent to be opened', async () => {
  const old = { metadata: { encoding: bytes('binary/encrypted') }, data: bytes('old') };
  const answer = () => ({ body: { payloads: [{ data: encode('opened') }] } });
  await asking(answer, async (codec) => assert.deepEqual(texts(await codec.decode([old])), ['opened']), {
    legacyEncodings: ['binary/encrypted'],
  });
});

test('the namespace of the call counts when sealing, and of the options otherwise', async () => {
  await asking(seal, async (codec, server) => {
    const context = { type: 'workflow', namespace: 'billing', workflowId: 'w' } as const;
    await codec.decode(await codec.encode([plain()], context));
    await codec.encode([plain()]);
    assert.deepEqual(server.asked.map(({ headers }) => headers['x-namespace']), ['billing', 'shop', 'shop']);
  });
});

test('many payloads go in requests of bounded number and size, over one connection', async () => {
  await asking(
    seal,
    async (codec, server) => {
      const sizes = [10, 10, 10, 900, 10, 5_000, 10];
      const given = sizes.map((size, index) => plain(String(index).repeat(size)));
      assert.deepEqual(texts(await codec.decode(await codec.encode(given))), texts(given));
      const encoded = server.asked.filter(({ path }) => path === '/encode');
      assert.deepEqual(encoded.map(({ body }) => JSON.parse(body).payloads.length), [2, 1, 1, 1, 1, 1]);
      assert.equal(new Set(server.asked.map(({ port }) => port)).size, 1);
    },
    { maxPayloads: 2, maxBytes: 1_000 },
  );
});

test('no more requests are under way than allowed', async () => {
  await asking(
    seal,
    async (codec, server) => {
      await Promise.all(Array.from({ length: 40 }, () => codec.encode([plain()])));
      assert.equal(server.asked.length, 40);
      assert.ok(new Set(server.asked.map(({ port }) => port)).size <= 3);
    },
    { concurrency: 3 },
  );
});

for (const passing of [
  { status: 429, body: { error: 'too_many_at_once' } },
  { status: 503, body: { error: 'kms_unavailable' } },
  { status: 424, body: { error: 'kms_unavailable' } },
  { status: 502, body: '<html>a proxy</html>' },
  'hang up' as const,
]) {
  test(`${JSON.stringify(passing)} is tried again`, async () => {
    await asking((asked, number) => (number < 3 ? passing : seal(asked)), async (codec, server) => {
      await codec.encode([plain()]);
      assert.equal(server.asked.length, 3);
    });
  });
}

for (const [status, error] of [
  [400, 'invalid_ciphertext'],
  [403, 'not_allowed'],
  [413, 'too_large'],
  [500, 'internal'],
  [301, 'moved'],
] as const) {
  test(`${status} fails at once, with the server's code alone`, async () => {
    const answer = () => ({ status, headers: { Location: 'http://127.0.0.1:1/' }, body: { error, message: SECRET } });
    await asking(answer, async (codec, server) => {
      await assert.rejects(codec.encode([plain()]), failsWith(`the codec server refused: ${status} ${error}`));
      assert.equal(server.asked.length, 1);
    });
  });
}

test('a code that is none is not repeated', async () => {
  await asking(
    () => ({ status: 400, body: { error: `${SECRET}!` } }),
    async (codec) => await assert.rejects(codec.encode([plain()]), failsWith('the codec server refused: 400')),
  );
});

test('an outage ends with an error when the deadline is over, and never with plaintext', async () => {
  const down = new RemoteCodec({ url: 'http://127.0.0.1:1', namespace: 'shop', deadline: 300 });
  await assert.rejects(down.encode([plain()]), failsWith('the codec server did not answer'));
});

test('a server that asks to wait longer than the deadline is not waited for', async () => {
  const answer = () => ({ status: 503, headers: { 'Retry-After': '60' }, body: { error: 'busy' } });
  await asking(answer, async (codec, server) => {
    await assert.rejects(codec.encode([plain()]), failsWith('the codec server refused: 503 busy'));
    assert.equal(server.asked.length, 1);
  });
});

test('an answer that was not sealed fails the call', async () => {
  const answer = ({ body }: Asked) => ({ body });
  await asking(answer, async (codec) => {
    await assert.rejects(codec.encode([plain()]), failsWith('the codec server did not seal the payloads'));
  });
});

test('payloads that were not opened are asked for alone, so that the server says why', async () => {
  const damaged = encode('damaged');
  const answer = (asked: Asked): Reply => {
    const { payloads } = JSON.parse(asked.body);
    if (payloads.every(({ data }: any) => data === damaged)) return { status: 400, body: { error: 'invalid_ciphertext' } };
    const open = (payload: any) => (payload.data === damaged ? payload : { data: encode('opened') });
    return { headers: { 'X-Envelope-Failed': '1' }, body: { payloads: payloads.map(open) } };
  };
  await asking(answer, async (codec, server) => {
    const given = [envelope('a'), envelope('damaged'), envelope('b')];
    await assert.rejects(codec.decode(given), failsWith('the codec server refused: 400 invalid_ciphertext'));
    assert.deepEqual(server.asked.map(({ body }) => JSON.parse(body).payloads.length), [3, 1]);
  });
});

test('payloads that could not be opened for an outage are opened after it', async () => {
  let outage = 3;
  const answer = (asked: Asked): Reply => {
    outage -= 1;
    const { payloads } = JSON.parse(asked.body);
    const open = (payload: any, index: number) => (outage > 0 && index > 0 ? payload : { data: encode('opened') });
    if (outage === 1) return { status: 503, body: { error: 'kms_unavailable' } };
    return { body: { payloads: payloads.map(open) } };
  };
  await asking(answer, async (codec, server) => {
    assert.deepEqual(texts(await codec.decode([envelope('a'), envelope('b')])), ['opened', 'opened']);
    assert.deepEqual(server.asked.map(({ body }) => JSON.parse(body).payloads.length), [2, 1, 1]);
  });
});

test('a payload that comes back as it was, and without a reason, fails the call', async () => {
  await asking(({ body }) => ({ body }), async (codec) => {
    await assert.rejects(codec.decode([envelope()]), failsWith('the codec server did not open a payload'));
  });
});

for (const body of [
  SECRET,
  { payloads: [] },
  { payloads: [{}, {}] },
  { payloads: {} },
  { payloads: [{ data: '!' }] },
  { payloads: [{ data: 'YQ' }] },
  { payloads: [{ metadata: { encoding: 7 } }] },
  { payloads: [{ unknown: SECRET }] },
  { payloads: [{ externalPayloads: [{ sizeBytes: 'many' }] }] },
  [],
]) {
  test(`the answer ${JSON.stringify(body)} is refused`, async () => {
    await asking(() => ({ body }), async (codec) => {
      const refused = failsWith('the codec server answered with something else than payloads');
      await assert.rejects(codec.encode([plain()]), refused);
      await assert.rejects(codec.decode([envelope()]), refused);
    });
  });
}

test('an answer that is too large is not read to its end', async () => {
  const answer = () => ({ body: ' '.repeat(5_000) });
  await asking(
    answer,
    async (codec) => await assert.rejects(codec.encode([plain()]), failsWith('the codec server gave too large an answer')),
    { maxAnswerBytes: 1_000 },
  );
});

test('an answer of very many small things is not parsed', async () => {
  const names = Array.from({ length: 40_000 }, (_, index) => `"${index}":""`).join(',');
  const body = `{"payloads":[{"metadata":{"encoding":"${encode('binary/envelope-v1')}",${names}}}]}`;
  await asking(() => ({ body }), async (codec) => {
    await assert.rejects(codec.encode([plain()]), failsWith('the codec server answered with something else than payloads'));
  });
});

test('a large page of a proxy is an outage like a small one', async () => {
  const page = { status: 503, body: `<html>${SECRET.repeat(10_000)}` };
  await asking((asked, number) => (number === 1 ? page : seal(asked)), async (codec) => {
    assert.equal((await codec.encode([plain()])).length, 1);
  }, { maxAnswerBytes: 64 << 10 });
});

test('a token is read from its file again when the server refuses it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'token-'));
  const file = join(folder, 'token');
  await writeFile(file, 'first\n');
  const answer = (asked: Asked): Reply =>
    asked.headers.authorization === 'Bearer second' ? seal(asked) : { status: 401, body: { error: 'invalid_token' } };
  try {
    await asking(
      answer,
      async (codec, server) => {
        await assert.rejects(codec.encode([plain()]), failsWith('the codec server refused: 401 invalid_token'));
        assert.equal(server.asked.length, 1); // the file had no other
        await writeFile(file, 'second\n');
        await Promise.all([codec.encode([plain()]), codec.encode([plain()])]);
        await codec.encode([plain()]);
        assert.equal(server.asked.filter(({ headers }) => headers.authorization === 'Bearer second').length, 3);
      },
      { token: { file } },
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a token that can not be had is an error of its own, without the words of its source', async () => {
  const options = { deadline: 200, token: () => Promise.reject(new Error(SECRET)) };
  await asking(
    seal,
    async (codec, server) => {
      const text = 'the codec server could not be asked: no token could be had';
      await assert.rejects(codec.encode([plain()]), failsWith(text));
      assert.equal(server.asked.length, 0);
    },
    options,
  );
  await asking(
    seal,
    async (codec) => {
      const text = 'the codec server could not be asked: no token could be had';
      await assert.rejects(codec.encode([plain()]), failsWith(text));
    },
    { deadline: 200, token: () => new Promise<string>(() => undefined) },
  );
});

test('settings that would let plaintext travel in clear, or nowhere, are refused', () => {
  const make = (url: string, options = {}) => () => new RemoteCodec({ url, namespace: 'shop', ...options });
  assert.throws(make('http://codec.example.com'), /https/);
  assert.throws(make('https://ada:secret@codec.example.com'), /only scheme, host and path/);
  assert.throws(make('codec.example.com'), /url/);
  assert.throws(make('https://codec.example.com', { namespace: '' }), /namespace/);
  make('http://codec.example.com', { allowHttp: true })();
  make('https://codec.example.com/codec')();
});
