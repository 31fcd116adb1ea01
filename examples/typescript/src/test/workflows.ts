import { proxyActivities } from '@temporalio/workflow';

export * from '../workflows';

const { failWhenTold } = proxyActivities<{ failWhenTold(folder: string, name: string): Promise<string> }>({
  startToCloseTimeout: '2 minutes',
  retry: { initialInterval: '200 milliseconds', backoffCoefficient: 1 },
});

export async function Failing(folder: string, name: string): Promise<string> {
  return await failWhenTold(folder, name);
}
