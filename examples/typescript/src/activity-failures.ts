import { CompleteAsyncError, type Context } from '@temporalio/activity';
import {
  CancelledFailure,
  defaultPayloadConverter,
  ensureApplicationFailure,
  type Payload,
  type PayloadConverter,
  type ProtoFailure,
} from '@temporalio/common';
import type { ActivityInboundCallsInterceptor, ActivityInterceptorsFactory } from '@temporalio/worker';
import type { RemoteCodec } from './codec';
import { codecServerText } from './errors';
import { failureConverter, sealedFailures } from './failure-converter';

/**
 * Seals the failure of an activity before Temporal's SDK does.
 *
 * The SDK ends the whole worker if the failure of an activity can't be encoded. With this interceptor the attempt fails
 * instead, with a fixed text in place of the failure, and Temporal's retry policy brings the next one. Name it first
 * among the interceptors of activities: it does not see what one before it throws.
 *
 * @param converter of the worker, if it has a payload converter of its own
 */
export function activityFailures(
  codec: RemoteCodec,
  converter: PayloadConverter = defaultPayloadConverter,
): ActivityInterceptorsFactory {
  return (context) => {
    const inbound: ActivityInboundCallsInterceptor = {
      async execute(input, next) {
        try {
          return await next(input);
        } catch (error) {
          throw hasNoFailure(error, context) ? error : await sealError(error, codec, converter);
        }
      },
    };
    return { inbound };
  };
}

/** Whether the SDK encodes nothing of `error`: an `AbortError` is none of its own unless the activity was cancelled. */
function hasNoFailure(error: unknown, context: Context): boolean {
  if (error instanceof CompleteAsyncError) return true;
  return error instanceof Error && error.name === 'AbortError' && context.cancellationSignal.aborted;
}

/** What to throw instead of `error`, so that the SDK has nothing left to encode. */
async function sealError(error: unknown, codec: RemoteCodec, converter: PayloadConverter): Promise<unknown> {
  const failing = error instanceof CancelledFailure ? error : ensureApplicationFailure(error);
  if (codecServerText(failing) !== undefined) return failing;
  const failure = failureConverter.errorToFailure(failing, converter);
  try {
    await sealFailure(failure, codec);
  } catch (refused) {
    const message = codecServerText(refused);
    if (message === undefined || !(failing instanceof CancelledFailure)) return refused;
    sealedFailures.set(failing, { message, source: 'TypeScriptSDK', canceledFailureInfo: {} });
    return failing;
  }
  sealedFailures.set(failing, failure);
  return failing;
}

/** Replace all payloads of a failure and its causes by sealed ones. */
export async function sealFailure(failure: ProtoFailure, codec: RemoteCodec): Promise<void> {
  const given: Payload[] = [];
  const replacements: Array<(sealed: Payload[]) => void> = [];
  for (let part: ProtoFailure | null | undefined = failure; part; part = part.cause) {
    const { encodedAttributes } = part;
    if (encodedAttributes) {
      const [owner, index] = [part, given.push(encodedAttributes) - 1];
      replacements.push((sealed) => (owner.encodedAttributes = sealed[index]));
    }
    for (const list of payloadLists(part)) {
      const [first, after] = [given.length, given.push(...(list.payloads ?? []))];
      replacements.push((sealed) => (list.payloads = sealed.slice(first, after)));
    }
  }
  if (given.length === 0) return;
  const sealed = await codec.encodeFinally(given);
  for (const replace of replacements) replace(sealed);
}

function payloadLists(failure: ProtoFailure): Array<{ payloads?: Payload[] | null }> {
  return [
    failure.applicationFailureInfo?.details,
    failure.canceledFailureInfo?.details,
    failure.timeoutFailureInfo?.lastHeartbeatDetails,
    failure.resetWorkflowFailureInfo?.lastHeartbeatDetails,
  ].filter((list) => list !== null && list !== undefined);
}
