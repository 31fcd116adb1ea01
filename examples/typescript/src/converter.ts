import type { DataConverter } from '@temporalio/common';
import { RemoteCodec } from './codec';

/** What clients and workers take as `dataConverter`. Failures are sealed too: their messages and stack traces. */
export function dataConverter(): DataConverter {
  const file = process.env.CODEC_TOKEN_FILE;
  return {
    payloadCodecs: [
      new RemoteCodec({
        url: process.env.CODEC_URL ?? 'http://127.0.0.1:8081',
        namespace: process.env.TEMPORAL_NAMESPACE ?? 'default',
        token: file ? { file } : undefined,
      }),
    ],
    failureConverterPath: require.resolve('./failure-converter'),
  };
}
