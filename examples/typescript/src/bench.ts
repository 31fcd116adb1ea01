/** Measures what the codec server costs: `node lib/bench.js`, as `benchmarks/other_languages.py` does. */
import type { Payload } from '@temporalio/common';
import { randomBytes } from 'node:crypto';
import { codecFromEnvironment } from './converter';
import type { RemoteCodec } from './codec';

const SECONDS = 1.5; // of one measurement
const ROUNDS = 3;

interface Measured {
  name: string;
  payloads: number;
  calls: number;
  seconds: number;
  /** Of this process. */
  processorSeconds: number;
}

function payload(size: number): Payload {
  const data = `"${randomBytes(size / 2).toString('hex').slice(2)}"`;
  return { metadata: { encoding: Buffer.from('json/plain') }, data: Buffer.from(data) };
}

/** Some callers at once, each as fast as it is answered. */
async function measure(name: string, payloads: number, callers: number, call: () => Promise<unknown>): Promise<Measured> {
  let calls = 0;
  const [begun, used] = [performance.now(), process.cpuUsage()];
  const until = begun + SECONDS * 1_000;
  const caller = async () => {
    for (; performance.now() < until; calls++) await call();
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const { user, system } = process.cpuUsage(used);
  return { name, payloads, calls, seconds: (performance.now() - begun) / 1_000, processorSeconds: (user + system) / 1e6 };
}

async function main(codec: RemoteCodec): Promise<void> {
  const cases: Array<[name: string, payloads: number, callers: number, call: () => Promise<unknown>]> = [];
  for (const [label, size, payloads, callers] of [
    ['1 payload of 1 KiB', 1 << 10, 1, 1],
    ['1 payload of 1 KiB, 8 calls at once', 1 << 10, 1, 8],
    ['100 payloads of 1 KiB', 1 << 10, 100, 1],
    ['1 payload of 64 KiB', 1 << 16, 1, 1],
    ['1 payload of 1 MiB', 1 << 20, 1, 1],
  ] as const) {
    const given = Array.from({ length: payloads }, () => payload(size));
    const sealed = await codec.encode(given);
    cases.push([`encode ${label}`, payloads, callers, () => codec.encode(given)]);
    cases.push([`decode ${label}`, payloads, callers, () => codec.decode(sealed)]);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const one of cases) console.log(JSON.stringify(await measure(...one)));
  }
  codec.close();
}

main(codecFromEnvironment()).catch((error) => {
  console.error(error);
  process.exit(1);
});
