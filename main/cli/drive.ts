// Runs a session to its end, and ends it early when the terminal asks for that.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Outcome, Session } from '../session.ts';

/** So long a signal may have to wait. */
const sliceMs = 50;

/** The first signal ends the run, whose recording stays whole; a second one ends the program. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Driven {
  readonly session: Session;
  readonly outcome: Outcome;
}

/** Signals are heard before `start` makes a file. Calls `report` now and then. */
export async function drive(
  start: () => Session,
  report: (session: Session) => void,
): Promise<Driven> {
  let cancelled = false;
  const cancel = (): void => {
    cancelled = true;
    forget();
  };
  const forget = (): void => {
    for (const signal of signals) process.off(signal, cancel);
  };
  for (const signal of signals) process.on(signal, cancel);
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
