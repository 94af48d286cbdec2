// A scenario that can be run, or every fault of its text in one error.

import '#sim/boot.ts';
import { checks } from '#sim/checks/index.ts';
import { type Compiled, type CompiledScenario, compileScenario } from '#sim/scenario/compile.ts';
import type { Diagnostic } from '#sim/scenario/diagnostics.ts';
import { switches as knownSwitches, profiles, switchOf } from '#sim/state/switches.ts';
import { registeredFunctions } from '#sim/steps.ts';
import { InputError, named, unknownName } from './input_error.ts';

export interface ScenarioSource {
  /** id of the library, or name of the file */
  readonly name: string;
  /** where a message says that the text stands */
  readonly path: string;
  readonly text: string;
}

/** What options say over the text. */
export interface Protections {
  readonly profile?: string | undefined;
  readonly switches?: Readonly<Record<string, string>> | undefined;
}

/** The text is wrong; `diagnostics` are all of its faults. */
export class ScenarioError extends InputError {
  readonly diagnostics: readonly Diagnostic[];

  constructor(path: string, diagnostics: readonly Diagnostic[]) {
    super(sentenceOf(path, diagnostics), { file: path, diagnostics: diagnostics.map(placed) });
    this.diagnostics = diagnostics;
  }
}

/** As the contract of the command line has them. */
export const placed = ({ line, column, endLine, endColumn, message }: Diagnostic) => ({
  line,
  column,
  endLine,
  endColumn,
  message,
});

function sentenceOf(path: string, diagnostics: readonly Diagnostic[]): string {
  const [first] = diagnostics;
  if (first === undefined) return `${path}: the scenario cannot be compiled.`;
  const more = diagnostics.length - 1;
  const others = more === 0 ? '' : ` (and ${more} more)`;
  return `${path}:${first.line}:${first.column}: ${first.message}${others}`;
}

/** Compiles with all names that the model knows. */
export function compile(text: string, protections: Protections = {}): Compiled {
  checkProtections(protections);
  return compileScenario(text, protections, { checks, functions: registeredFunctions() });
}

export function compiled(source: ScenarioSource, protections: Protections = {}): CompiledScenario {
  const { scenario, diagnostics } = compile(source.text, protections);
  if (scenario === undefined) throw new ScenarioError(source.path, diagnostics);
  return scenario;
}

/** An option has no line and column: what is wrong with it is told before the text is read. */
function checkProtections({ profile, switches = {} }: Protections): void {
  if (profile !== undefined) named('profile', profile, profiles);
  for (const [id, value] of Object.entries(switches)) {
    named('switch', id, knownSwitches);
    const values = switchOf(id)?.values ?? [];
    if (!values.includes(value)) throw unknownName(`value of ${id},`, value, values);
  }
}
