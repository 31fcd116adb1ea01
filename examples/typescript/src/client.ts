import { Client, Connection } from '@temporalio/client';
import { codecFromEnvironment, dataConverter } from './converter';

/** Starts a workflow and prints its result: `npm start WORKFLOW [ARGUMENT] [SIGNAL]`. */
async function main([workflow = 'Greeting', argument = 'Ada', signal]: string[]): Promise<void> {
  const codec = codecFromEnvironment();
  const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS ?? '127.0.0.1:7233' });
  const namespace = process.env.TEMPORAL_NAMESPACE ?? 'default';
  const client = new Client({ connection, namespace, dataConverter: dataConverter(codec) });
  const handle = await client.workflow.start(workflow, {
    taskQueue: process.env.TASK_QUEUE ?? 'greetings',
    workflowId: process.env.WORKFLOW_ID ?? `greeting-${Date.now()}`,
    args: argument ? [argument] : [],
    memo: { note: argument },
  });
  if (signal) await handle.signal(signal, argument);
  console.log(await handle.result());
  await connection.close();
  codec.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
