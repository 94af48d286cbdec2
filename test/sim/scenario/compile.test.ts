import { describe, expect, test } from 'vitest';
import { type CompiledScenario, compileScenario } from '#sim/scenario/compile.ts';
import { APIC_ACCESS_PAGE } from '#sim/state/program.ts';
import { faults, vocabulary } from './marked.ts';

const whole = `
scenario "R01: the reload looks up the page"
         "inside the invalidation"
race R01 buggy            # a comment ends with its line
profile k4.15
set apic-reload-retry on
about """
  The notifier asks.
    1. mm

  Then it ends.
"""
machine { vcpus 2 memory 2 boot reset apicv off }
mm1   { migrate 0x1 }
vcpu0 { read 0xfee00080 repeat 3 { write 0x1ffc 0x20 repeat 2 { pause } } hlt }
mm    { migrate apic-access-page madvise-dontneed 0 }
user  { inhibit-apic-access-page }
schedule {
  mm through migrate_pages   vcpu0 to vmx_set_apic_access_page_addr "VM" "WRITE"
  irq1 on   vcpu1 5   then random 7
}
expect violated inv-apic-access-hpa at vcpu_enter_guest "VM entry"
expect final vcpu[0].vmcs01.apic_access_addr == 0x2000 && 1
expect violated inv-no-raw-apic-page
`;

const compiled = (text: string, options = {}): CompiledScenario => {
  const { scenario, diagnostics } = compileScenario(text, options, vocabulary);
  expect(diagnostics).toEqual([]);
  return scenario!;
};

describe('a scenario with everything', () => {
  const scenario = compiled(whole);

  test('has its words', () => {
    const { title, race, twin, about, profile } = scenario;
    expect({ title, race, twin, about, profile }).toEqual({
      title: 'R01: the reload looks up the page inside the invalidation',
      race: 'R01',
      twin: 'buggy',
      profile: 'k4.15',
      about: 'The notifier asks.\n  1. mm\n\nThen it ends.',
    });
  });

  test('has every switch: the value of the profile, or what it sets itself', () => {
    expect(scenario.switches['apic-reload-retry']).toBe('on');
    expect(scenario.switches['apic-reload-hook']).toBe('range_start');
    expect(scenario.config.switches).toEqual(scenario.switches);
  });

  test('numbers vCPUs, then their CPUs, then the others as they appear', () => {
    expect(scenario.actors).toEqual(['vcpu0', 'vcpu1', 'irq0', 'irq1', 'mm1', 'mm', 'user']);
    expect(scenario.config.actors.map(({ kind, index }) => [kind, index])).toEqual([
      ['vcpu', 0],
      ['vcpu', 1],
      ['irq', 0],
      ['irq', 1],
      ['mm', 1],
      ['mm', 0],
      ['user', 0],
    ]);
  });

  test('has a machine with enough frames', () => {
    const { vcpus, frames, memoryPages, boot, enableApicv } = scenario.config;
    expect({ vcpus, frames, memoryPages, boot, enableApicv }).toEqual({
      vcpus: 2,
      frames: 8,
      memoryPages: 2,
      boot: 'reset',
      enableApicv: false,
    });
  });

  test('has programs whose loops are counters and jumps', () => {
    expect(scenario.config.actors[0]!.program).toEqual([
      { op: 'read', operands: [0xfee0_0080] },
      { op: 'loop-begin', counter: 0, count: 3 },
      { op: 'write', operands: [0x1ffc, 0x20] },
      { op: 'loop-begin', counter: 1, count: 2 },
      { op: 'pause', operands: [] },
      { op: 'loop-end', counter: 1, target: 4 },
      { op: 'loop-end', counter: 0, target: 2 },
      { op: 'hlt', operands: [] },
    ]);
    expect(scenario.config.actors[5]!.program).toEqual([
      { op: 'migrate', operands: [APIC_ACCESS_PAGE] },
      { op: 'madvise-dontneed', operands: [0] },
    ]);
  });

  test('has directives and what chooses after them', () => {
    expect(scenario.directives).toEqual([
      { actor: 5, goal: { kind: 'through', function: 'migrate_pages', label: undefined } },
      {
        actor: 0,
        goal: {
          kind: 'to',
          function: 'vmx_set_apic_access_page_addr',
          label: 'VM WRITE',
        },
      },
      { actor: 3, goal: { kind: 'on' } },
      { actor: 1, goal: { kind: 'steps', count: 5 } },
    ]);
    expect(scenario.policy).toEqual({ kind: 'random', seed: 7 });
    expect(scenario.schedule).toBeUndefined();
  });

  test('says what it expects', () => {
    const [first, second, third] = scenario.expectations;
    expect(first).toMatchObject({
      kind: 'violated',
      check: 'inv-apic-access-hpa',
      at: { function: 'vcpu_enter_guest', label: 'VM entry' },
    });
    expect(second).toMatchObject({
      kind: 'final',
      text: 'vcpu[0].vmcs01.apic_access_addr == 0x2000 && 1',
    });
    expect(third).toMatchObject({ kind: 'violated', check: 'inv-no-raw-apic-page', at: undefined });
  });

  test('means the same on one line', () => {
    const { expectations, ...rest } = compiled(
      whole
        .replace(/ +#.*/, '')
        .replace(/"""[\s\S]*"""/, '""" x """')
        .replaceAll('\n', ' '),
    );
    const { expectations: others, ...same } = scenario;
    expect({ ...rest, about: '' }).toEqual({ ...same, about: '' });
    expect(expectations.map(({ kind }) => kind)).toEqual(others.map(({ kind }) => kind));
  });
});

describe('small scenarios', () => {
  test('a title is enough', () => {
    const { config, profile, directives, expectations } = compiled('scenario "x"');
    expect(profile).toBe('k7.0');
    expect(config).toMatchObject({
      vcpus: 1,
      frames: 8,
      memoryPages: 0,
      boot: 'settled',
      enableApicv: true,
    });
    expect([directives, expectations]).toEqual([[], []]);
  });

  test('an exact schedule may be split over strings', () => {
    const { schedule } = compiled(
      'scenario "x" mm { } schedule exact "mm*2 vcpu0"\n"mm" "random:3"',
    );
    expect(schedule).toEqual({
      items: [
        { actor: 'mm', count: 2 },
        { actor: 'vcpu0', count: 1 },
        { actor: 'mm', count: 1 },
      ],
      policy: { kind: 'random', seed: 3 },
    });
  });

  test('a program may follow an expression', () => {
    const { actors } = compiled('scenario "x" expect final 1 == 1 mm { } expect final 2 user { }');
    expect(actors).toEqual(['vcpu0', 'irq0', 'mm', 'user']);
  });

  test('options come before the text', () => {
    const { profile, switches } = compiled('scenario "x" profile k6.6 set apic-reload-retry on', {
      profile: 'k4.15',
      switches: { 'apic-reload-retry': 'off', 'reload-flush-current': 'off' },
    });
    expect(profile).toBe('k4.15');
    expect(switches).toMatchObject({
      'apic-reload-retry': 'off',
      'reload-flush-current': 'off',
      'apic-reload-hook': 'range_start',
    });
  });

  test('a wrong option is a diagnostic without a place', () => {
    const { diagnostics } = compileScenario('scenario "x"', {
      profile: 'k4.16',
      switches: { 'apic-reload-rety': 'on', 'apic-reload-retry': 'yes' },
    });
    expect(diagnostics.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
    expect(diagnostics.map(({ message }) => message)).toEqual([
      'there is no profile "k4.16"; did you mean "k4.15"?',
      'there is no switch "apic-reload-rety"; did you mean "apic-reload-retry"?',
      '"apic-reload-retry" is not "yes"; write on or off',
    ]);
  });

  test('names are not checked against an empty vocabulary', () => {
    const { scenario } = compileScenario(
      'scenario "x" schedule { vcpu0 to anything } expect violated inv-anything at any',
    );
    expect(scenario?.directives).toHaveLength(1);
  });
});

const t = 'scenario "x" ';

describe('diagnostics of the meaning', () => {
  test.each<[string, string]>([
    ['«m»achine { }', 'a scenario has a title'],
    [`${t}«scenario» "y"`, 'given twice'],
    [`${t}race «X1» buggy`, '"X1" is no race'],
    [`${t}race R01 «bugy»`, 'did you mean "buggy"?'],
    [`${t}profile «k6.7»`, 'did you mean "k6.6"?'],
    [`${t}profile k6.6 «profile» k5.8`, 'given twice'],
    [`${t}set «apic-reload-rety» on`, 'did you mean "apic-reload-retry"?'],
    [`${t}set apic-reload-retry «maybe»`, 'write on or off'],
    [`${t}set apic-reload-retry on set «apic-reload-retry» off`, 'set twice'],
    [`${t}machine { «vcpu» 2 }`, 'did you mean "vcpus"?'],
    [`${t}machine { «vcpus» }`, 'has no value'],
    [`${t}machine { «vcpus» memory 1 }`, 'has no value'],
    [`${t}machine { vcpus «0» }`, 'from 1 to 16'],
    [`${t}machine { vcpus «17» }`, 'from 1 to 16'],
    [`${t}machine { vcpus «0xg» }`, 'is no number'],
    [`${t}machine { vcpus 1 «vcpus» 2 }`, 'given twice'],
    [`${t}machine { frames «129» }`, 'from 4 to 128'],
    [`${t}machine { vcpus 4 memory 4 frames «10» }`, 'at least 11 frames'],
    [`${t}machine { memory «65» }`, 'from 0 to 64'],
    [`${t}machine { boot «setled» }`, 'did you mean "settled"?'],
    [`${t}machine { apicv «yes» }`, 'write on or off'],
    [`${t}«vcpu1» { hlt }`, 'write "vcpus 2"'],
    [`${t}«vcpu16» { hlt }`, 'write vcpu0'],
    [`${t}«irq0» { }`, 'has no program'],
    [`${t}«mn» { }`, 'did you mean "mm"?'],
    [`${t}«mm0» { }`, 'did you mean "mm"?'],
    [`${t}mm { } «mm» { }`, 'join the two blocks'],
    [`${t}vcpu0 { «raed» 0xfee00080 }`, 'did you mean "read"?'],
    [`${t}vcpu0 { «read» }`, 'write read ADDRESS'],
    [`${t}vcpu0 { «write» 0xfee00080 hlt }`, 'write write ADDRESS VALUE'],
    [`${t}vcpu0 { hlt «5» }`, 'belongs to no instruction'],
    [`${t}mm { «hlt» }`, 'done by a vCPU'],
    [`${t}machine { memory 1 } vcpu0 { read «0x82» }`, '4-byte aligned'],
    [`${t}vcpu0 { read «0x0» }`, 'no memory'],
    [`${t}machine { memory 1 } vcpu0 { read «0x1000» }`, 'ends before 0x1000'],
    [`${t}vcpu0 { read «-»4 }`, 'means nothing'],
    [`${t}vcpu0 { write 0xfee00080 «0x100000000» }`, 'from 0x0 to 0xffffffff'],
    [`${t}mm { migrate «apic-page» }`, 'is no page'],
    [`${t}machine { memory 2 } mm { migrate «2» }`, 'from 0x0 to 0x1'],
    [`${t}vcpu0 { «repeat» { hlt } }`, 'lacks its count'],
    [`${t}vcpu0 { repeat «0» { hlt } }`, 'from 1 to'],
    [`${t}vcpu0 { «repeat» 2 { } }`, 'nothing to repeat'],
    [`${t}vcpu0 { ${'repeat 1 { '.repeat(4)}«repeat» 1 { hlt } ${'}'.repeat(4)} }`, '4 deep'],
    [`${t}schedule { «mm» on }`, 'no actor "mm"'],
    [`${t}schedule { vcpu0 «0» }`, 'number of steps'],
    [`${t}schedule { vcpu0 to «vcpu_enter_gest» }`, 'did you mean "vcpu_enter_guest"?'],
    [`${t}schedule { then «rundom» 7 }`, 'did you mean "random"?'],
    [`${t}schedule { then «random» }`, 'lacks its seed'],
    [`${t}schedule { then random «4294967296» }`, 'a seed is from 0'],
    [`${t}schedule { then round-robin «7» }`, 'takes no number'],
    [`${t}schedule { } «schedule» exact "vcpu0"`, 'keep one'],
    [`${t}schedule exact "vcpu0" «schedule» exact "vcpu0"`, 'keep one'],
    [`${t}schedule exact "vcpu0 «mm*3»"`, 'no actor mm'],
    [`${t}schedule exact "vcpu0"\n "vcpu0 «vcpu0*0» vcpu0"`, 'neither ACTOR'],
    [`${t}schedule exact «""»`, 'the schedule is empty'],
    [`${t}expect violated «inv-apic-acces-hpa»`, 'did you mean "inv-apic-access-hpa"?'],
    [`${t}expect violated inv-apic-access-hpa at «vcpu_enter»`, 'did you mean "vcpu_enter_guest"?'],
    [`${t}«expect clean» expect violated inv-apic-access-hpa`, 'cannot be clean and'],
    [`${t}expect final vcpu[0].«mod» == 1`, 'did you mean "mode"?'],
    [`${t}expect final vcpu[«1»].mode == 1`, 'from 0 to 0'],
  ])('%s', (marked, message) => faults(marked, message));

  test('lines and columns count from 1, the end stands behind', () => {
    const {
      diagnostics: [first],
    } = compileScenario('scenario "x"\n\n  profile k9\n');
    expect(first).toMatchObject({
      line: 3,
      column: 11,
      endLine: 3,
      endColumn: 13,
      severity: 'error',
    });
  });

  test('an actor that cannot be does not hide what is wrong in its program', () => {
    faults(`${t}«vcpu1» { «jump» }`, 'last vCPU', 'cannot do "jump"');
  });
});
