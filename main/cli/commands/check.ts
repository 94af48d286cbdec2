// `check`: parses and compiles a scenario, and tells every fault of its text.

import { compile, placed, ScenarioError } from '../../compiled.ts';
import { status } from '../output.ts';
import type { Run } from '../program.ts';

export const check: Run<[string]> = ({ output, library }, scenario) => {
  const source = library.named(scenario);
  const { diagnostics } = compile(source.text);
  const ok = diagnostics.length === 0;
  output.answer({ ok, diagnostics: diagnostics.map(placed) }, () =>
    ok
      ? `${source.path}: no faults`
      : diagnostics
          .map(({ line, column, message }) => `${source.path}:${line}:${column}: ${message}`)
          .join('\n'),
  );
  if (ok) return status.asAsked;
  output.say(new ScenarioError(source.path, diagnostics).message);
  return status.wrongInput;
};
