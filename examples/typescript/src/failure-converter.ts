import { ApplicationFailure, DefaultFailureConverter, type FailureConverter, type ProtoFailure } from '@temporalio/common';
import { codecServerText } from './errors';

/** Failures whose payloads are sealed already, by the error that they were made of: see `activity-failures.ts`. */
export const sealedFailures = new WeakMap<object, ProtoFailure>();

/** Fixed texts of Temporal's SDK, for errors that it makes where the codec server may be down. */
const OF_THE_SDK = new Set(['HEARTBEAT_DETAILS_CONVERSION_FAILED', 'Activity reset', 'Activity paused']);
const NOT_REGISTERED = /^Activity function \S+ is not registered on this Worker, /;

const hiding = new DefaultFailureConverter({ encodeCommonAttributes: true });
const plain = new DefaultFailureConverter({ encodeCommonAttributes: false });

/**
 * Moves message and stack trace of a failure to where the codec seals them. The workflow's bundle has it, too.
 *
 * What has fixed words alone needs no codec: above all the failure which says that the codec server did not answer. If
 * it had to be sealed, it could not be told, and Temporal's SDK would end the worker.
 */
export const failureConverter: FailureConverter = {
  failureToError: (failure, converter, context) => hiding.failureToError(failure, converter, context),
  errorToFailure(error, converter, context) {
    const sealed = typeof error === 'object' && error !== null ? sealedFailures.get(error) : undefined;
    if (sealed !== undefined) return sealed;
    const failure = hasFixedWords(error) ? withoutContent(error) : undefined;
    return failure === undefined
      ? hiding.errorToFailure(error, converter, context)
      : plain.errorToFailure(failure, converter, context);
  },
};

function hasFixedWords(error: unknown): error is Error {
  if (codecServerText(error) !== undefined) return true;
  if (!(error instanceof ApplicationFailure) || error.cause || error.details?.length) return false;
  return OF_THE_SDK.has(error.message) || isNotRegistered(error);
}

function isNotRegistered(error: Error): boolean {
  return error instanceof ApplicationFailure && error.type === 'NotFoundError' && NOT_REGISTERED.test(error.message);
}

/** A failure of fixed words: without stack trace, details and cause. */
function withoutContent(error: Error): ApplicationFailure {
  const text = codecServerText(error);
  const failure =
    text !== undefined
      ? ApplicationFailure.retryable(text, 'CodecServerError')
      : isNotRegistered(error) // its text lists all activities; history and the worker's log have the name
        ? ApplicationFailure.retryable('no such activity is registered on this worker', 'NotFoundError')
        : ApplicationFailure.retryable(error.message);
  failure.stack = '';
  return failure;
}
