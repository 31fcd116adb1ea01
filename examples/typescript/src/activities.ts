import { ApplicationFailure } from '@temporalio/common';

export async function greet(name: string): Promise<string> {
  return `Hello, ${name}!`;
}

export async function refuse(name: string): Promise<string> {
  throw ApplicationFailure.nonRetryable(`no greeting for ${name}`);
}
