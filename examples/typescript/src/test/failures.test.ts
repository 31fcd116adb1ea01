import { ApplicationFailure, CancelledFailure, defaultPayloadConverter, ensureApplicationFailure } from '@temporalio/common';
import assert from 'node:assert/strict';
import test from 'node:test';
import { activityFailures } from '../activity-failures';
import { RemoteCodec } from '../codec';
import { CodecServerError } from '../errors';
import { failureConverter } from '../failure-converter';
import { ScriptedServer, seal } from './scripted-server';

const SECRET = 'a secret of Ada';
const DOWN = CodecServerError.because('did not answer', { retryable: true });
const WORDS = 'the codec server did not answer';

function toFailure(error: unknown) {
  return failureConverter.errorToFailure(error, defaultPayloadConverter);
}

/** What an activity that throws `error` makes Temporal's SDK send: the failure, encoded. */
async function thrownBy(error: unknown, url: string) {
  const codec = new RemoteCodec({ url, namespace: 'shop', deadline: 100 });
  const { inbound } = activityFailures(codec)(undefined as never);
  const thrown = await inbound!.execute!({ args: [], headers: {} }, () => Promise.reject(error)).catch((what) => what);
  const failure = toFailure(thrown instanceof CancelledFailure ? thrown : ensureApplicationFailure(thrown));
  const [attributes] = failure.encodedAttributes ? await codec.encode([failure.encodedAttributes]) : [];
  codec.close();
  return { failure, attributes };
}

test('message and stack trace of a failure and of its causes go to where they are sealed', () => {
  const failure = toFailure(ApplicationFailure.create({ message: SECRET, cause: new Error(SECRET) }));
  const { encodedAttributes, cause, ...rest } = failure;
  assert.ok(Buffer.from(encodedAttributes!.data!).includes(SECRET));
  assert.ok(Buffer.from(cause!.encodedAttributes!.data!).includes(SECRET));
  assert.ok(!JSON.stringify({ ...rest, cause: { ...cause, encodedAttributes: null } }).includes(SECRET));
});

test('that the codec server did not answer is said without it', () => {
  const wrapped = ApplicationFailure.fromError(DOWN, { message: `Failed to parse ${SECRET}: ${WORDS}` });
  for (const error of [DOWN, ensureApplicationFailure(DOWN), wrapped]) {
    const failure = toFailure(error);
    assert.equal(failure.message, WORDS);
    assert.equal(failure.applicationFailureInfo?.type, 'CodecServerError');
    assert.equal(failure.encodedAttributes, undefined);
    assert.ok(!JSON.stringify(failure).includes(SECRET));
  }
});

test('an error that only looks like it is sealed', () => {
  const posing = ApplicationFailure.create({ message: SECRET, type: 'CodecServerError' });
  const caused = ApplicationFailure.create({ message: 'Activity reset', cause: new Error(SECRET) });
  for (const error of [posing, caused]) assert.ok(toFailure(error).encodedAttributes);
});

test('the failure of an activity is sealed once, with its details and causes', async () => {
  await ScriptedServer.run(seal, async ({ url, asked }) => {
    const error = ApplicationFailure.create({ message: SECRET, details: [SECRET, 1], cause: new Error(SECRET) });
    const { failure, attributes } = await thrownBy(error, url);
    assert.equal(asked.length, 1); // nothing is left for the SDK to seal
    assert.equal(attributes, failure.encodedAttributes);
    const details = failure.applicationFailureInfo!.details!.payloads!;
    for (const payload of [attributes!, failure.cause!.encodedAttributes!, ...details]) {
      assert.equal(Buffer.from(payload.metadata!.encoding!).toString(), 'binary/envelope-v1');
    }
  });
});

test('an activity that fails while the codec server is down fails with fixed words', async () => {
  for (const error of [new Error(SECRET), ApplicationFailure.nonRetryable(SECRET), new CancelledFailure(SECRET), DOWN]) {
    const { failure } = await thrownBy(error, 'http://127.0.0.1:1');
    assert.equal(failure.message, WORDS);
    assert.ok(!JSON.stringify(failure).includes(SECRET));
    assert.equal(Boolean(failure.canceledFailureInfo), error instanceof CancelledFailure);
    assert.ok(!failure.applicationFailureInfo?.nonRetryable);
  }
});

test('what an activity returns is left alone', async () => {
  const codec = new RemoteCodec({ url: 'http://127.0.0.1:1', namespace: 'shop' });
  const { inbound } = activityFailures(codec)(undefined as never);
  assert.equal(await inbound!.execute!({ args: [], headers: {} }, async () => 7), 7);
});
