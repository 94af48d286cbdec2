// `verify`: runs the scenario of a recording again and compares every position.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { Verification } from '../../verification.ts';
import { withRecording } from '../open_recording.ts';
import { plural, status } from '../output.ts';
import type { Run } from '../program.ts';

const sliceMs = 50;

export const verify: Run<[string]> = ({ output }, path) =>
  withRecording(path, async (recording) => {
    const verification = new Verification(recording);
    const bar = output.progress('verifying');
    while (verification.advance(sliceMs)) {
      bar.report(verification.steps / recording.steps, `${verification.steps} steps`);
      await nextTurn();
    }
    bar.end();
    const { steps, difference } = verification;
    const equal = difference === undefined;
    output.answer({ steps, equal, firstDifference: difference }, () =>
      equal
        ? `${plural(steps, 'step')} and ${plural(steps + 1, 'position')} are the same`
        : `after ${plural(steps, 'equal step')}: ${difference.message}`,
    );
    return equal ? status.asAsked : status.broken;
  });
