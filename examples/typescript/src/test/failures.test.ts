import type { Context } from '@temporalio/activity';
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

/** What the interceptor looks at of an activity's context. */
function contextOf(cancelled: boolean): Context {
  return { cancellationSignal: cancelled ? AbortSignal.abort() : new AbortController().signal } as Context;
}

function abortError(): Error {
  return Object.assign(new Error(SECRET), { name: 'AbortError' });
}

/** What an activity that throws `error` makes Temporal's SDK send: the failure, encoded. */
async function thrownBy(error: unknown, url: string, deadline = 30_000, cancelled = false) {
  const codec = new RemoteCodec({ url, namespace: 'shop', deadline });
  const { inbound } = activityFailures(codec)(contextOf(cancelled));
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
  const errors = [new Error(SECRET), abortError(), ApplicationFailure.nonRetryable(SECRET), new CancelledFailure(SECRET), DOWN];
  for (const error of errors) {
    const { failure } = await thrownBy(error, 'http://127.0.0.1:1', 100);
    assert.equal(failure.message, WORDS);
    assert.ok(!JSON.stringify(failure).includes(SECRET));
    assert.equal(Boolean(failure.canceledFailureInfo), error instanceof CancelledFailure);
    assert.ok(!failure.applicationFailureInfo?.nonRetryable);
  }
});

test('an activity that was cancelled ends with the error of its signal, of which the SDK sends nothing', async () => {
  const error = abortError();
  const codec = new RemoteCodec({ url: 'http://127.0.0.1:1', namespace: 'shop', deadline: 100 });
  const { inbound } = activityFailures(codec)(contextOf(true));
  await assert.rejects(inbound!.execute!({ args: [], headers: {} }, () => Promise.reject(error)), (what) => what === error);
});

test('that an activity is not registered is said without the codec server', () => {
  const message = 'Activity function pay is not registered on this Worker, available activities: ["greet"]';
  const failure = toFailure(ApplicationFailure.retryable(message, 'NotFoundError'));
  assert.equal(failure.message, 'no such activity is registered on this worker');
  assert.equal(failure.applicationFailureInfo?.type, 'NotFoundError');
  assert.equal(failure.encodedAttributes, undefined);
  for (const other of [ApplicationFailure.retryable(message), ApplicationFailure.retryable(SECRET, 'NotFoundError')]) {
    assert.ok(toFailure(other).encodedAttributes);
  }
});

test('what an activity returns is left alone', async () => {
  const codec = new RemoteCodec({ url: 'http://127.0.0.1:1', namespace: 'shop' });
  const { inbound } = activityFailures(codec)(contextOf(false));
  assert.equal(await inbound!.execute!({ args: [], headers: {} }, async () => 7), 7);
});
