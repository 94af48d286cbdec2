// `test`: runs scenarios and compares with the expectations that are written in them.

import type { ScenarioText } from '../../bundled.ts';
import { type Unmet, unmet } from '../../expectations_met.ts';
import { InputError } from '../../input_error.ts';
import { startRun } from '../../session.ts';
import { drive } from '../drive.ts';
import { plural, status } from '../output.ts';
import type { Context, Run } from '../program.ts';

interface TestOptions {
  readonly all?: boolean;
}

export const test: Run<[readonly string[], TestOptions]> = async (context, names, options) => {
  const { output } = context;
  const bar = output.progress('testing');
  const failures: ({ readonly id: string } & Unmet)[] = [];
  const sources = sourcesOf(context, names, options.all === true);
  let failed = 0;
  for (const [i, source] of sources.entries()) {
    const unmet = await unmetBy(source, () => bar.report(i / sources.length, source.name));
    if (unmet.length > 0) failed++;
    failures.push(...unmet.map((one) => ({ id: source.name, ...one })));
  }
  bar.end();
  const passed = sources.length - failed;
  output.answer({ passed, failed, failures }, () =>
    [
      ...failures.map(({ id, expected, got }) => `${id}: expected ${expected}\n  but ${got}`),
      `${plural(passed, 'scenario')} passed, ${failed} failed`,
    ].join('\n'),
  );
  return failed === 0 ? status.asAsked : status.broken;
};

function sourcesOf({ library }: Context, names: readonly string[], all: boolean): ScenarioText[] {
  if (all === names.length > 0) {
    throw new InputError(
      'Name the scenarios to test, or --all for the bundled ones, but not both.',
    );
  }
  return all ? library.all() : names.map((name) => library.named(name));
}

async function unmetBy(source: ScenarioText, report: () => void): Promise<Unmet[]> {
  report();
  const { session, outcome } = await drive(() => startRun(source), report);
  const { findings, halted } = outcome;
  if (halted === 'cancelled') return [{ expected: 'a run to its end', got: 'it was cancelled' }];
  const { words } = session.machine.arena;
  return unmet(session.scenario.expectations, { findings, halted, words });
}
