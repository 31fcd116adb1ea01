/** The example's worker, with a workflow whose activity fails when a test wants it to. */
import { existsSync, writeFileSync } from 'node:fs';
import * as activities from '../activities';
import { runWorker } from '../worker';

/** Says in a file that it runs, waits for another, and fails. */
async function failWhenTold(folder: string, name: string): Promise<string> {
  writeFileSync(`${folder}/started`, '');
  while (!existsSync(`${folder}/fail`)) await new Promise((resolve) => setTimeout(resolve, 20));
  return await activities.refuse(name);
}

runWorker(require.resolve('./workflows'), { ...activities, failWhenTold }).catch((error) => {
  console.error(error);
  process.exit(1);
});
