import type { Payload } from '@temporalio/common';
import { CodecServerError } from './errors';

/** A payload as protobuf's JSON spells it. */
export interface JsonPayload {
  metadata?: Record<string, string>;
  data?: string;
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

export function toJson(payload: Payload): JsonPayload {
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(payload.metadata ?? {})) {
    metadata[name] = base64(value);
  }
  return { metadata, data: base64(payload.data ?? new Uint8Array()) };
}

/** Read the server's answer: as many payloads as were sent, or an error. */
export function fromJson(text: string, count: number): Payload[] {
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

function parsePayload(value: unknown): Payload {
  if (!isRecord(value) || Object.keys(value).some((name) => name !== 'metadata' && name !== 'data')) throw malformed();
  const { metadata = {}, data = '' } = value;
  if (!isRecord(metadata)) throw malformed();
  const entries = Object.entries(metadata).map(([name, text]) => [name, bytes(text)] as const);
  return { metadata: Object.fromEntries(entries), data: bytes(data) };
}

function base64(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
}

function bytes(text: unknown): Uint8Array {
  if (typeof text !== 'string' || text.length % 4 !== 0 || !BASE64.test(text)) throw malformed();
  return new Uint8Array(Buffer.from(text, 'base64'));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(): CodecServerError {
  return new CodecServerError('the codec server answered with something else than payloads', false, 200);
}
