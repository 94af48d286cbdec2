// Runs a session to its end, and ends it early when the terminal asks for that.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Outcome, Session } from '../session.ts';
import { hearSignals } from './signals.ts';

/** So long a signal may have to wait. */
const sliceMs = 50;

export interface Driven {
  readonly session: Session;
  readonly outcome: Outcome;
}

/**
 * The first signal ends the run, whose recording stays whole. Signals are heard before `start`
 * makes a file. Calls `report` now and then.
 */
export async function drive(
  start: () => Session,
  report: (session: Session) => void,
): Promise<Driven> {
  let cancelled = false;
  const forget = hearSignals(() => {
    cancelled = true;
  });
  let session: Session | undefined;
  try {
    session = start();
    while (session.advance(sliceMs)) {
      report(session);
      await nextTurn();
      if (cancelled) session.cancel();
    }
    return { session, outcome: session.finish() };
  } catch (error) {
    session?.abandon();
    throw error;
  } finally {
    forget();
  }
}
