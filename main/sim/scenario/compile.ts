/** Compiles the text of a scenario to everything that a run needs. Never throws. */
import type { Directive } from '../sched/policies/directed.ts';
import type { PolicySpec, Schedule } from '../sched/schedule.ts';
import { layoutOf } from '../state/machine.ts';
import type { MachineConfig } from '../state/machine_config.ts';
import { actorsOf, possibleActors } from './compile/actors.ts';
import { type Report, reportTo } from './compile/context.ts';
import { type Expectation, expectationsOf } from './compile/expectations.ts';
import { largestMachine, machineOf } from './compile/machine.ts';
import { type Overrides, profileAndSwitches } from './compile/protections.ts';
import { directivesOf, exactScheduleOf, policyOf } from './compile/schedule.ts';
import { type Diagnostic, diagnosticsOf, instead, type Problem } from './diagnostics.ts';
import { emptyVocabulary, type Vocabulary } from './language/vocabulary.ts';
import { dedented } from './parse/strings.ts';
import type { Section } from './parse/tree.ts';
import { parseScenario } from './parse.ts';

export interface CompiledScenario {
  readonly title: string;
  /** `R01` … */
  readonly race: string | undefined;
  readonly twin: Twin | undefined;
  readonly about: string;
  readonly profile: string;
  /** every switch: the profile's value, or what the scenario or an option says instead */
  readonly switches: Readonly<Record<string, string>>;
  readonly config: MachineConfig;
  /** names by number: as in `config.actors` */
  readonly actors: readonly string[];
  readonly directives: readonly Directive[];
  /** what chooses after the directives; undefined is round-robin */
  readonly policy: PolicySpec | undefined;
  /** the exact schedule, if the scenario has that instead of directives */
  readonly schedule: Schedule | undefined;
  readonly expectations: readonly Expectation[];
}

export const twins = ['buggy', 'fixed'] as const;
export type Twin = (typeof twins)[number];

export interface Compiled {
  readonly scenario: CompiledScenario | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

type Kind = Section['kind'];
type SectionOf<K extends Kind> = Extract<Section, { kind: K }>;

const allOf = <K extends Kind>(sections: readonly Section[], kind: K): SectionOf<K>[] =>
  sections.filter((section): section is SectionOf<K> => section.kind === kind);

/** The section of that kind; a second one is reported. */
const oneOf = <K extends Kind>(
  sections: readonly Section[],
  kind: K,
  report: Report,
): SectionOf<K> | undefined => {
  const [first, ...others] = allOf(sections, kind);
  for (const { head } of others) report(head, `"${kind}" is given twice; keep one`);
  return first;
};

const racePattern = /^R[0-9]{2,3}$/;

const raceOf = (
  section: SectionOf<'race'> | undefined,
  report: Report,
): { race: string | undefined; twin: Twin | undefined } => {
  if (section === undefined) return { race: undefined, twin: undefined };
  const { race, twin } = section;
  if (!racePattern.test(race.text)) {
    report(race, `"${race.text}" is no race; write R and its number, such as R01`);
  }
  const known = twins.find((name) => name === twin?.text);
  if (twin !== undefined && known === undefined) {
    report(twin, `a race has no twin "${twin.text}"; ${instead(twin.text, twins)}`);
  }
  return { race: race.text, twin: known };
};

const scheduleOf = (
  sections: readonly Section[],
  actors: readonly string[],
  { vocabulary, report }: { vocabulary: Vocabulary; report: Report },
): Pick<CompiledScenario, 'directives' | 'policy' | 'schedule'> => {
  const context = { actors, functions: vocabulary.functions.map(({ name }) => name), report };
  const lines = oneOf(sections, 'schedule', report);
  const exact = allOf(sections, 'exact');
  for (const { head } of lines === undefined ? exact.slice(1) : exact) {
    report(head, 'there is a schedule already; keep one');
  }
  return {
    directives: lines === undefined ? [] : directivesOf(lines.lines, context),
    policy: lines?.policy === undefined ? undefined : policyOf(lines.policy, report),
    schedule: exact[0] === undefined ? undefined : exactScheduleOf(exact[0].text, context),
  };
};

interface Input {
  readonly text: string;
  readonly sections: readonly Section[];
  /** nothing of the text was left out because of its form */
  readonly isWhole: boolean;
  readonly overrides: Overrides;
  readonly vocabulary: Vocabulary;
  /** problems of the meaning; the parts push theirs */
  readonly problems: Problem[];
}

const meaningOf = (input: Input): CompiledScenario => {
  const { text, sections, isWhole, overrides, vocabulary, problems } = input;
  const report = reportTo(problems);
  const title = oneOf(sections, 'scenario', report);
  const about = oneOf(sections, 'about', report);
  const profile = oneOf(sections, 'profile', report);
  const { race, twin } = raceOf(oneOf(sections, 'race', report), report);
  const protections = profileAndSwitches(profile, allOf(sections, 'set'), { overrides, report });
  const words = oneOf(sections, 'machine', report)?.words;
  const machine = words === undefined && !isWhole ? largestMachine : machineOf(words ?? [], report);
  const actors = actorsOf(allOf(sections, 'program'), machine, {
    switches: protections.switches,
    report,
  });
  const names = actors.map(({ name }) => name);
  const layout = layoutOf({
    vcpus: machine.vcpus,
    actors: actors.length,
    frames: machine.frames,
    memoryPages: machine.memoryPages,
  });
  return {
    title: title?.title.text ?? '',
    about: dedented(about?.text.text ?? ''),
    race,
    twin,
    ...protections,
    actors: names,
    config: { ...machine, switches: protections.switches, actors },
    ...scheduleOf(sections, isWhole ? names : possibleActors(machine), { vocabulary, report }),
    expectations: expectationsOf(allOf(sections, 'expect'), {
      text,
      layout,
      vocabulary,
      problems,
      report,
    }),
  };
};

const lineStart = (text: string, offset: number): number =>
  offset === 0 ? 0 : text.lastIndexOf('\n', offset - 1) + 1;

/** What the meaning says of a line whose form is wrong already is left out. */
const beside = (text: string, form: readonly Problem[], meaning: readonly Problem[]): Problem[] => {
  const lines = new Set(form.slice(0, 1000).map(({ offset }) => lineStart(text, offset)));
  return meaning.filter(
    (problem) =>
      (problem.length === 0 && problem.offset === 0) || !lines.has(lineStart(text, problem.offset)),
  );
};

/**
 * The scenario, or everything that is wrong with it. Options come before the text: they are what
 * `--profile` and `--set` say. Names that the vocabulary does not list are faults.
 */
export const compileScenario = (
  text: string,
  overrides: Overrides = {},
  vocabulary: Vocabulary = emptyVocabulary,
): Compiled => {
  const { tree: sections, problems: form } = parseScenario(text);
  const problems: Problem[] = [];
  const scenario = meaningOf({
    text,
    sections,
    isWhole: form.length === 0,
    overrides,
    vocabulary,
    problems,
  });
  const all = [...form, ...beside(text, form, problems)];
  if (form.length === 0 && !sections.some(({ kind }) => kind === 'scenario')) {
    const length = Math.min(1, text.length);
    all.push({ offset: 0, length, message: 'a scenario has a title; write scenario "TITLE"' });
  }
  return all.length === 0
    ? { scenario, diagnostics: [] }
    : { scenario: undefined, diagnostics: diagnosticsOf(text, all) };
};
