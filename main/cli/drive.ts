// Runs a session to its end: shows how far it is, and ends it when the terminal asks for that.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Outcome, Session } from '../session.ts';
import type { Output } from './output.ts';

/** So long a signal may have to wait. */
const sliceMs = 50;

/** The first signal ends the run, whose recording stays whole; a second one ends the program. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export async function drive(session: Session, output: Output, what: string): Promise<Outcome> {
  const bar = output.progress(what);
  const cancel = (): void => {
    session.cancel();
    forget();
  };
  const forget = (): void => {
    for (const signal of signals) process.off(signal, cancel);
  };
  for (const signal of signals) process.on(signal, cancel);
  try {
    while (session.advance(sliceMs)) {
      const { steps, stepsMax } = session.run;
      bar.report(steps / stepsMax, `${steps} steps`);
      await nextTurn();
    }
    return session.finish();
  } catch (error) {
    session.abandon();
    throw error;
  } finally {
    forget();
    bar.end();
  }
}
