// The commands, their arguments and their help. What a command does is loaded when it is called.

import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { depthMax, seededKinds } from '#sim/sched/schedule.ts';
import { Library } from '../bundled.ts';
import { libraryFolder } from '../library_folder.ts';
import * as options from './options.ts';
import { Output, type Status, type Streams } from './output.ts';

/** What every command is given besides its arguments. */
export interface Context {
  readonly output: Output;
  readonly library: Library;
}

/** A command: positional arguments in order, then the options. */
export type Run<A extends unknown[]> = (context: Context, ...args: A) => Status | Promise<Status>;

const version = (): string => {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
};

/** `done` is called with the status of the command that ran. */
export function programFor(streams: Streams, done: (status: Status) => void): Command {
  const program = new Command('apicscope');
  const add: Add = (usage, summary, examples, load) => {
    const command = program
      .command(usage)
      .summary(summary)
      .description(summary)
      .option('--json', 'answer with one JSON document')
      .addHelpText('after', helpWith(examples));
    return command.action(async (...given: unknown[]) => {
      // Commander hands over the arguments, then the options, then the command itself.
      const output = new Output(command.opts()['json'] === true, streams);
      const run = (await load()) as Run<unknown[]>;
      done(await run({ output, library: new Library(libraryFolder) }, ...given.slice(0, -1)));
    });
  };
  program
    .description('A debugger with time travel over a model of KVM’s APIC virtualization.')
    .usage('COMMAND [ARGUMENTS] [--json]')
    .version(version(), '--version', 'print the version')
    .helpCommand(false)
    .addHelpText('after', footer)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => streams.out.write(text),
      // What is wrong with the arguments is told once, by who catches the error.
      writeErr: () => undefined,
    });
  addKnowledge(add);
  addRuns(add);
  addRecordings(add);
  addQuestions(add);
  return program;
}

type Add = (
  usage: string,
  summary: string,
  examples: readonly string[],
  load: () => Promise<unknown>,
) => Command;

const footer = `
A SCENARIO is a file or the id of a bundled one; a RECORDING is a file that run -o wrote.
Exit status: 0 as asked, no invariant broke · 1 an invariant broke, a check failed, or nothing was
found · 2 the input or the usage is wrong · 3 a fault of apicscope.
Help on one command: apicscope COMMAND --help`;

const helpWith = (examples: readonly string[]): string =>
  `\nExamples:\n${examples.map((example) => `  apicscope ${example}`).join('\n')}`;

function addKnowledge(add: Add): void {
  const knowledge = () => import('./commands/knowledge.ts');
  const fields = async () => (await import('./commands/fields.ts')).fields;
  add(
    'scenarios',
    'list the bundled scenarios',
    ['scenarios', 'scenarios --json'],
    async () => (await import('./commands/scenarios.ts')).scenarios,
  );
  add(
    'profiles',
    'list the kernels that the model can be',
    ['profiles'],
    async () => (await knowledge()).profiles,
  );
  add(
    'switches',
    'list the protections that can be turned off',
    ['switches'],
    async () => (await knowledge()).switches,
  );
  add(
    'invariants',
    'list what is checked',
    ['invariants'],
    async () => (await import('./commands/invariants.ts')).invariants,
  );
  add(
    'functions',
    'list the modelled functions and where they are from',
    ['functions'],
    async () => (await import('./commands/functions.ts')).functions,
  );
  add('fields [glob]', 'list the declared state', ['fields', "fields 'vcpu[0].pi_desc.*'"], fields);
}

function addRuns(add: Add): void {
  add(
    'check <scenario>',
    'parse and compile a scenario',
    ['check my.scn'],
    async () => (await import('./commands/check.ts')).check,
  );
  add(
    'run <scenario>',
    'run a scenario with all checks, and record it if -o names a file',
    [
      'run R01-k4.15-buggy -o r01.apicrec',
      'run R01-k4.15-buggy --profile k6.6 --set apic-reload-retry=off --seed 7',
      "run my.scn --schedule 'mm*14 vcpu0*33 round-robin'",
    ],
    async () => (await import('./commands/run.ts')).run,
  )
    .option('-o, --output <recording>', 'record the run into this file')
    .option('--profile <profile>', 'the kernel, instead of the one that the scenario names')
    .option('--set <switch=value>', 'set a protection; may be repeated', options.gatherSetting)
    .addOption(
      new Option(
        '--schedule <text>',
        'who goes when: "mm*14 vcpu0", round-robin, random:SEED, random-stretches:SEED, pct:SEED',
      ).conflicts('seed'),
    )
    .option('--seed <n>', 'choose at random', options.whole(0, options.asked.seedMax))
    .addOption(
      new Option('--policy <policy>', 'how the seed decides; random unless given')
        .choices(seededKinds)
        .conflicts('schedule'),
    )
    .option(
      '--steps-max <n>',
      'end after this many steps',
      options.whole(1, options.asked.stepsMax),
    );
  add(
    'test [scenarios...]',
    'run scenarios and compare with the expectations that are written in them',
    ['test R01-k4.15-buggy my.scn', 'test --all'],
    async () => (await import('./commands/test.ts')).test,
  ).option('--all', 'all bundled scenarios');
  addSearch(add);
  add(
    'roundtrips',
    'count what a round trip into L2 costs, by how the pages of L1 are held',
    ['roundtrips'],
    async () => (await import('./commands/roundtrips.ts')).roundtrips,
  );
  add(
    'conformance <paths...>',
    'run conformance cases, from files or from all files of a folder',
    ['conformance test/conformance/cases', 'conformance kvm_ipi_routing.json --case kir-00005'],
    async () => (await import('./commands/conformance.ts')).conformance,
  )
    .option('--suite <name>', 'only the suite of this name, or of the file of this name')
    .option('--case <id>', 'only the case with this id')
    .option(
      '--profile <profile>',
      'the kernel of all cases; else the newest that a suite is about, and k6.13 for what cases ' +
        'say of Linux 6.16',
    );
}

function addSearch(add: Add): void {
  add(
    'search [scenarios...]',
    'run scenarios under many random schedules, and tell which invariants broke',
    [
      'search R20-k7.0-buggy --count 1000',
      'search my.scn --seeds 500..999 --policy pct --depth 4',
      'search --all-twins --count 10000 --buggy-count 2000',
    ],
    async () => (await import('./commands/search.ts')).search,
  )
    .option('--all-twins', 'all bundled fixed twins, and buggy ones until they are found')
    .option('--seeds <range>', 'the seeds of each scenario, such as 1..2000', options.seeds)
    .addOption(
      new Option('--count <n>', 'so many seeds of each scenario, from 0; 200 unless given')
        .argParser(options.whole(1, options.asked.seedMax))
        .conflicts('seeds'),
    )
    .option(
      '--buggy-count <n>',
      'at most so many seeds of a buggy twin; 2000 unless given',
      options.whole(1, options.asked.seedMax),
    )
    .addOption(
      new Option('--policy <policy>', 'how a seed decides who goes; mixed: each way in turn')
        .choices(['mixed', ...seededKinds])
        .default('mixed'),
    )
    .option('--depth <n>', 'orderings that pct looks for', options.whole(1, depthMax))
    .option('--profile <profile>', 'the kernel, instead of the one that a scenario names')
    .option('--set <switch=value>', 'set a protection; may be repeated', options.gatherSetting)
    .option('--steps-max <n>', 'steps of a run', options.whole(1, options.asked.stepsMax))
    .option('--threads <n>', 'work in so many threads', options.whole(1, options.asked.threadsMax));
}

function addRecordings(add: Add): void {
  const recording = () => import('./commands/recording.ts');
  const field = ['--field <glob>', 'only these fields; may be repeated'] as const;
  add(
    'info <recording>',
    'tell what a recording is',
    ['info r01.apicrec'],
    async () => (await recording()).info,
  );
  add(
    'show <recording>',
    'show the state at a position',
    ["show r01.apicrec --at 120 --field 'vcpu[*].mode'"],
    async () => (await recording()).show,
  )
    .option('--at <position>', 'the position; the last one unless given', options.position)
    .option(...field, options.gather);
  add(
    'diff <recording> <a> <b>',
    'show what differs between two positions',
    ["diff r01.apicrec 100 120 --field 'vcpu[0].**'"],
    async () => (await recording()).diff,
  ).option(...field, options.gather);
  add(
    'verify <recording>',
    'run it again and compare every position',
    ['verify r01.apicrec'],
    async () => (await import('./commands/verify.ts')).verify,
  );
}

function addQuestions(add: Add): void {
  const questions = () => import('./commands/questions.ts');
  const range = (command: Command): Command =>
    command
      .option('--from <position>', 'first position to look at', options.position)
      .option('--to <position>', 'last position to look at', options.position);
  add(
    'writers <recording> <field>',
    'show who wrote a field, newest first',
    ["writers r01.apicrec 'vcpu[0].mode' --before 120 --limit 3"],
    async () => (await questions()).writers,
  )
    .option('--before <position>', 'only steps before this position', options.position)
    .option('--after <position>', 'only steps from this position on', options.position)
    .option('--limit <n>', 'at most so many', options.count);
  range(
    add(
      'find <recording> <expression>',
      'find the positions at which an expression becomes true',
      ["find r01.apicrec 'vcpu[0].mode == 1 && changed(vcpu[0].requests)'"],
      async () => (await questions()).find,
    ),
  ).option('--limit <n>', 'at most so many', options.count);
  range(
    add(
      'bisect <recording>',
      'find the step that broke an invariant or made an expression true',
      ["bisect r01.apicrec --expr 'vcpu[0].apic_base == 0'"],
      async () => (await questions()).bisect,
    ),
  )
    .addOption(new Option('--invariant <id>', 'the invariant').conflicts('expr'))
    .option('--expr <expression>', 'the expression that says what is broken');
}
