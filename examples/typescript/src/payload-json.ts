import type { Payload } from '@temporalio/common';
import Long from 'long';
import { CodecServerError } from './errors';

/** A payload as protobuf's JSON spells it. */
interface JsonPayload {
  metadata?: Record<string, string>;
  data?: string;
  externalPayloads?: Array<{ sizeBytes?: string }>;
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const INTEGER = /^-?[0-9]{1,19}$/;
const MOST_SIGNS = 100_000; // and a hundred for each payload: far more than payloads have beside their base64

/** The text of one payload. */
export function toJson({ metadata, data, externalPayloads }: Payload): string {
  const json: JsonPayload = {};
  if (metadata) json.metadata = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, base64(value)]));
  if (data) json.data = base64(data);
  if (externalPayloads?.length) {
    json.externalPayloads = externalPayloads.map(({ sizeBytes }) => ({ sizeBytes: String(sizeBytes ?? 0) }));
  }
  return JSON.stringify(json);
}

/** Read the server's answer: as many payloads as were sent, or an error. */
export function fromJson(text: string, count: number): Payload[] {
  // Parsed, `{},{},…` or many names take fifty times the memory of their text, and minutes. What is large in payloads is
  // base64, which has none of these signs.
  if (hasMore(text, '[{,"', MOST_SIGNS + 100 * count)) throw malformed();
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch {
    throw malformed(); // the words of the parser would quote the answer
  }
  const payloads = isRecord(reply) ? (reply.payloads ?? []) : undefined;
  if (!Array.isArray(payloads) || payloads.length !== count) throw malformed();
  return payloads.map(parsePayload);
}

export function samePayload(one: Payload, other: Payload): boolean {
  const [names, others] = [Object.keys(one.metadata ?? {}), Object.keys(other.metadata ?? {})];
  return (
    names.length === others.length &&
    sameBytes(one.data, other.data) &&
    names.every((name) => Object.hasOwn(other.metadata!, name) && sameBytes(one.metadata![name], other.metadata![name]))
  );
}

/** Whether `text` has more than `most` of the `signs`. It is not read further than that. */
function hasMore(text: string, signs: string, most: number): boolean {
  let found = 0;
  for (const sign of signs) {
    for (let at = text.indexOf(sign); at >= 0; at = text.indexOf(sign, at + 1)) if (++found > most) return true;
  }
  return false;
}

function parsePayload(value: unknown): Payload {
  if (!isRecord(value)) throw malformed();
  const { metadata = {}, data = '', externalPayloads = [], ...unknown } = value;
  if (!isRecord(metadata) || !Array.isArray(externalPayloads) || Object.keys(unknown).length > 0) throw malformed();
  const entries = Object.entries(metadata).map(([name, text]) => [name, bytes(text)] as const);
  const payload: Payload = { metadata: Object.fromEntries(entries), data: bytes(data) };
  if (externalPayloads.length > 0) payload.externalPayloads = externalPayloads.map(parseDetails);
  return payload;
}

function parseDetails(value: unknown): { sizeBytes: Long } {
  const { sizeBytes = '0' } = isRecord(value) ? value : { sizeBytes: undefined };
  if (!(typeof sizeBytes === 'string' || typeof sizeBytes === 'number') || !INTEGER.test(String(sizeBytes))) {
    throw malformed();
  }
  return { sizeBytes: Long.fromString(String(sizeBytes)) };
}

function base64(data: Uint8Array): string {
  return asBuffer(data).toString('base64');
}

function bytes(text: unknown): Uint8Array {
  if (typeof text !== 'string' || text.length % 4 !== 0 || !BASE64.test(text)) throw malformed();
  return new Uint8Array(Buffer.from(text, 'base64'));
}

function sameBytes(one?: Uint8Array | null, other?: Uint8Array | null): boolean {
  return asBuffer(one ?? new Uint8Array()).equals(other ?? new Uint8Array());
}

function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(): CodecServerError {
  return CodecServerError.because('answered with something else than payloads', { status: 200 });
}
