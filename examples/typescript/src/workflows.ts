import { condition, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';
import type * as activities from './activities';

const { greet, refuse } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });

export const tell = defineSignal<[string]>('tell');

export async function Greeting(name: string): Promise<string> {
  return await greet(name);
}

/** Greets whom it is told of by a signal. */
export async function Listening(): Promise<string> {
  let told: string | undefined;
  setHandler(tell, (name) => void (told = name));
  await condition(() => told !== undefined);
  return await greet(told!);
}

/** Fails, with a message that is nobody else's business. */
export async function Refusal(name: string): Promise<string> {
  return await refuse(name);
}
