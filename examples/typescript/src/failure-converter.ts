import { DefaultFailureConverter } from '@temporalio/common';

/** Moves message and stack trace of a failure to where the codec seals them. The workflow's bundle has it, too. */
export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
