import type { DataConverter } from '@temporalio/common';
import { readFileSync } from 'node:fs';
import { RemoteCodec } from './codec';

/** Asks the codec server that the environment names. */
export function codecFromEnvironment(environment = process.env): RemoteCodec {
  const { CODEC_URL, CODEC_TOKEN_FILE, CODEC_CA_FILE, TEMPORAL_NAMESPACE } = environment;
  return new RemoteCodec({
    url: CODEC_URL ?? 'http://127.0.0.1:8081',
    namespace: TEMPORAL_NAMESPACE ?? 'default',
    token: CODEC_TOKEN_FILE ? { file: CODEC_TOKEN_FILE } : undefined,
    tls: CODEC_CA_FILE ? { ca: readFileSync(CODEC_CA_FILE) } : undefined,
    deadline: Number(environment.CODEC_DEADLINE ?? 30_000),
  });
}

/** What clients and workers take as `dataConverter`. Failures are sealed too: their messages and stack traces. */
export function dataConverter(codec: RemoteCodec): DataConverter {
  return { payloadCodecs: [codec], failureConverterPath: require.resolve('./failure-converter') };
}
