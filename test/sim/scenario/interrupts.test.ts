import { describe, expect, test } from 'vitest';
import { type CompiledScenario, compileScenario } from '#sim/scenario/compile.ts';
import { faults, vocabulary } from './marked.ts';

const compiled = (text: string): CompiledScenario => {
  const { scenario, diagnostics } = compileScenario(text, {}, vocabulary);
  expect(diagnostics).toEqual([]);
  return scenario!;
};

describe('interrupts in the language', () => {
  const programOf = (block: string, machine = ''): unknown =>
    compiled(`scenario "x" machine { vcpus 2 ${machine} } ${block}`).config.actors.find(
      ({ program }) => program.length > 0,
    )!.program;

  test('a guest reaches every byte of the APIC, MSRs and CR8', () => {
    expect(
      programOf('vcpu0 { read8 0xfee00083 write64 0xfee00ff8 1 2 wrmsr64 0x830 0x41 1 }'),
    ).toEqual([
      { op: 'read8', operands: [0xfee0_0083] },
      { op: 'write64', operands: [0xfee0_0ff8, 1, 2] },
      { op: 'wrmsr64', operands: [0x830, 0x41, 1] },
    ]);
    expect(programOf('vcpu0 { rdmsr 0x1b wrmsr 0x6e0 5 mov-to-cr8 15 sti eoi }')).toHaveLength(5);
  });

  test('an interrupt handler stands behind the program', () => {
    expect(programOf('vcpu0 { hlt handler eoi iret }')).toEqual(
      ['hlt', 'handler', 'eoi', 'iret'].map((op) => ({ op, operands: [] })),
    );
  });

  test('each handler counts its loops for itself: it may interrupt those of the program', () => {
    const loop = (counter: number, target: number): unknown[] => [
      { op: 'loop-begin', counter, count: 2 },
      { op: 'pause', operands: [] },
      { op: 'loop-end', counter, target },
    ];
    const plain = (op: string): unknown => ({ op, operands: [] });
    const repeat = 'repeat 2 { pause }';
    expect(
      programOf(`vcpu0 { ${repeat} handler ${repeat} iret smi-handler ${repeat} rsm }`),
    ).toEqual([
      ...loop(0, 1),
      plain('handler'),
      ...loop(4, 5),
      plain('iret'),
      plain('smi-handler'),
      ...loop(8, 10),
      plain('rsm'),
    ]);
  });

  test('vCPUs, CPUs and reasons have names and numbers', () => {
    const named = 'sched { run-on vcpu1 cpu0 }';
    expect(programOf(named)).toEqual(programOf('sched { run-on 1 0 }'));
    expect(programOf('user { inhibit-apicv BLOCKIRQ }')).toEqual(
      programOf('user { inhibit-apicv 3 }'),
    );
    expect(programOf('user { set-mp-state vcpu1 HALTED }')).toEqual([
      { op: 'set-mp-state', operands: [1, 3] },
    ]);
  });

  test('timers act only where a clock makes time pass', () => {
    const actors = (block: string): readonly string[] => compiled(`scenario "x" ${block}`).actors;
    expect(actors('dev { raise 1 }')).toEqual(['vcpu0', 'irq0', 'dev']);
    const timed = ['vcpu0', 'irq0', 'timer0', 'kworker', 'clock'];
    expect(actors('clock { advance 5 }')).toEqual(timed);
    const split = 'machine { irqchip split } clock { advance 5 }';
    expect(actors(split)).toEqual(timed.filter((name) => name !== 'kworker'));
  });

  test('a machine says what is not as usual', () => {
    const configOf = (keys: string): CompiledScenario['config'] =>
      compiled(`scenario "x" machine { vcpus 2 ${keys} }`).config;
    expect(configOf('x2apic off interrupts off irqchip kernel vector-hashing on')).toEqual(
      configOf(''),
    );
    expect(configOf('x2apic on interrupts on irqchip split vector-hashing off')).toMatchObject({
      vm: { irqchip: 'split', vectorHashing: false },
      apics: [
        { mode: 'x2apic', interrupts: true },
        { mode: 'x2apic', interrupts: true },
      ],
    });
  });
});

const t = 'scenario "x" ';

describe('diagnostics', () => {
  test.each<[string, string]>([
    [`${t}machine { memory 1 } vcpu0 { read64 «0x4» }`, '8-byte aligned'],
    [`${t}vcpu0 { read «0xfee00ffd» }`, 'beyond the page of the APIC'],
    [`${t}vcpu0 { write8 0xfee00080 «0x100» }`, 'from 0x0 to 0xff'],
    [`${t}vcpu0 { write16 0xfee00080 «0x10000» }`, 'from 0x0 to 0xffff'],
    [`${t}vcpu0 { rdmsr «0x10» }`, 'is not of the APIC'],
    [`${t}vcpu0 { wrmsr «0x900» 1 }`, 'is not of the APIC'],
    [`${t}vcpu0 { «iret» }`, 'only a handler returns'],
    [`${t}vcpu0 { hlt «handler» eoi }`, 'write iret at its end'],
    [`${t}vcpu0 { handler iret «handler» iret }`, 'join the two'],
    [`${t}vcpu0 { handler «sti» iret }`, 'remove sti'],
    [`${t}vcpu0 { «handler» repeat 2 { iret } }`, 'write iret at its end'],
    [`${t}vcpu0 { «handler» eoi smi-handler rsm }`, 'write iret at its end'],
    [`${t}vcpu0 { «smi-handler» cli }`, 'write rsm at its end'],
    [`${t}vcpu0 { smi-handler «iret» rsm }`, 'write "handler" before it'],
    [`${t}vcpu0 { handler «rsm» iret }`, 'write "smi-handler" before it'],
    [`${t}vcpu0 { smi-handler «sti» rsm }`, 'off to its rsm'],
    [`${t}vcpu0 { read 0xfec000ff read «0xfec00100» }`, 'end at 0xfec000ff'],
    [`${t}machine { eoi-storm «0» }`, 'from 1 to 10000'],
    [`${t}dev { irqfd «24» }`, 'from 0x0 to 0x17'],
    [`${t}«kworker» { }`, 'has no program'],
    [`${t}«kworker0» { }`, 'there is no actor'],
    [`${t}vcpu0 { repeat 2 { «handler» iret } }`, 'cannot begin inside repeat'],
    [`${t}dev { msi «0x100» vcpu0 }`, 'from 0x0 to 0xff'],
    [`${t}dev { msi 0x41 «vcpu1» }`, 'from 0 to 0'],
    [`${t}dev { msi 0x41 «cpu0» }`, 'is no vCPU; write vcpu0'],
    [`${t}dev { raise «24» }`, 'from 0x0 to 0x17'],
    [`${t}sched { run-on vcpu0 «cpu1» }`, 'from 0 to 0'],
    [`${t}user { inhibit-apicv «HYPER» }`, 'did you mean "HYPERV"?'],
    [`${t}user { «post» 0x41 vcpu0 }`, 'is done by the IOMMU'],
    [`${t}«timer0» { }`, 'has no program'],
    [`${t}machine { x2apic «yes» }`, 'write on or off'],
    [`${t}machine { irqchip «none» }`, 'write kernel or split'],
  ])('%s', (marked, message) => faults(marked, message));
});
