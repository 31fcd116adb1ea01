import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';
import { activityFailures } from './activity-failures';
import { codecFromEnvironment, dataConverter } from './converter';

/** Runs a worker until it is told to end. */
export async function runWorker(workflowsPath: string, activities: object): Promise<void> {
  const codec = codecFromEnvironment();
  const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS ?? '127.0.0.1:7233' });
  const worker = await Worker.create({
    connection,
    namespace: process.env.TEMPORAL_NAMESPACE ?? 'default',
    taskQueue: process.env.TASK_QUEUE ?? 'greetings',
    workflowsPath,
    activities,
    dataConverter: dataConverter(codec),
    interceptors: { activity: [activityFailures(codec)] },
  });
  console.log('ready');
  await worker.run();
  await connection.close();
  codec.close();
}

if (require.main === module) {
  runWorker(require.resolve('./workflows'), activities).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
