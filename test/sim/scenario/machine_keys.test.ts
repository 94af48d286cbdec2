import { describe, expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { type CompiledScenario, compileScenario } from '#sim/scenario/compile.ts';
import { complete, hover } from '#sim/scenario/language.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { faults, vocabulary } from './marked.ts';

const compiled = (machine: string, actors = ''): CompiledScenario => {
  const text = `scenario "x" machine { ${machine} } ${actors}`;
  const { scenario, diagnostics } = compileScenario(text, {}, vocabulary);
  expect(diagnostics).toEqual([]);
  return scenario!;
};
const booted = (machine: string): Machine => boot(compiled(machine).config);

describe('keys of a machine', () => {
  test('what is usual is not written down', () => {
    const usual = 'x2apic-ids 8bit broadcast-quirk on x2apic-cpuid on tsc-deadline on cmci on';
    expect(compiled(usual).config).toEqual(compiled('').config);
  });

  test('each vCPU has the ID that the list gives it, and one of them is the boot processor', () => {
    const { vcpu } = booted('vcpus 3 apic-id 4 0x48 9 bsp 9');
    expect(vcpu.map(({ vcpu_id, apic }) => [vcpu_id, apic.id >>> 24])).toEqual([
      [4, 4],
      [0x48, 0x48],
      [9, 9],
    ]);
    expect(vcpu.map(({ apic_base, apic }) => [(apic_base & 0x100) !== 0, apic.lvt0])).toEqual([
      [false, 0x1_0000],
      [false, 0x1_0000],
      [true, 0x700],
    ]);
  });

  test('IDs of x2APIC mode have their logical ID', () => {
    const { vcpu } = booted('vcpus 2 x2apic on apic-id 0 300');
    expect([vcpu[1]!.apic.id, vcpu[1]!.apic.ldr]).toEqual([300, (18 << 16) | (1 << 12)]);
  });

  test('two IDs with the same low byte inhibit APICv, unless IDs have 32 bits', () => {
    const aliased = (machine: string): boolean[] => {
      const { vm, vcpu } = booted(`vcpus 2 ${machine}`);
      const reason = vm.apicv_inhibit_reasons.has(apicvInhibitReason.PHYSICAL_ID_ALIASED);
      return [reason, ...vcpu.map(({ apic }) => apic.apicv_active)];
    };
    expect(aliased('apic-id 1 257')).toEqual([true, false, false]);
    expect(aliased('apic-id 1 257 x2apic on')).toEqual([false, true, true]);
    expect(aliased('apic-id 1 257 x2apic-ids 32bit')).toEqual([false, true, true]);
    expect(aliased('apic-id 1 2')).toEqual([false, true, true]);
  });

  test('numbers of the VM are as they are written', () => {
    const { vm } = booted('tsc-khz 2500000 bus-cycle-ns 25 min-timer-period-us 7 maxphyaddr 40');
    const { tsc_khz, apic_bus_cycle_ns, min_timer_period_us, maxphyaddr } = vm;
    expect([tsc_khz, apic_bus_cycle_ns, min_timer_period_us, maxphyaddr]).toEqual([
      2_500_000, 25, 7, 40,
    ]);
  });

  test('capabilities and quirks are turned on and off', () => {
    const { vm, vcpu } = booted(
      'x2apic-ids 32bit broadcast-quirk off disabled-quirks LINT0_REENABLED LAPIC_MMIO_HOLE ' +
        'x2apic-cpuid off tsc-deadline off cmci off',
    );
    expect([vm.x2apic_format, vm.x2apic_broadcast_quirk_disabled]).toEqual([true, true]);
    expect(vm.disabled_quirks.word(0)).toBe(0b101);
    expect([vm.x2apic_cpuid, vm.tsc_deadline_cpuid]).toEqual([false, false]);
    const { apic } = vcpu[0]!;
    expect([apic.nr_lvt_entries, apic.lapic_timer.timer_mode_mask]).toEqual([6, 1 << 17]);
  });

  test('guest memory is one slot, or several that together are all of it', () => {
    const slots = (machine: string): number[][] =>
      booted(machine)
        .vm.memslot.filter(({ used, id }) => used && id < 0x7ffd)
        .map(({ id, base_gfn, npages }) => [id, base_gfn, npages]);
    expect(slots('')).toEqual([]);
    expect(slots('memory 5')).toEqual([[0, 0, 5]]);
    expect(slots('memory 5 slot-pages 2')).toEqual([
      [0, 0, 2],
      [1, 2, 2],
      [2, 4, 1],
    ]);
    expect(slots('memory 15 slot-pages 1')).toHaveLength(15);
  });
});

const t = 'scenario "x" ';

describe('a machine that cannot be', () => {
  test.each<[string, string]>([
    [`${t}machine { vcpus 2 apic-id 4 «4» }`, 'KVM_CREATE_VCPU fails with EEXIST'],
    [`${t}machine { vcpus 2 apic-id 0 «4096» }`, 'KVM_CREATE_VCPU fails with EINVAL'],
    [`${t}machine { vcpus 3 apic-id «4» 5 }`, 'for all 3 vCPUs, not for 2'],
    [`${t}machine { apic-id «0» 1 }`, 'for all 1 vCPUs, not for 2'],
    [`${t}machine { «apic-id» vcpus 2 }`, 'has no value'],
    [`${t}machine { apic-id «x» }`, 'is no number'],
    [`${t}machine { bsp «4097» }`, 'KVM_SET_BOOT_CPU_ID fails with EINVAL'],
    [`${t}machine { max-vcpu-id «4097» }`, 'KVM_ENABLE_CAP fails with EINVAL'],
    [`${t}machine { max-vcpu-id 2 apic-id «2» }`, 'KVM_CREATE_VCPU fails with EINVAL'],
    [`${t}machine { vcpus 3 max-vcpu-id «2» }`, 'the last vCPU has the ID 2'],
    [`${t}machine { x2apic «on» x2apic-cpuid off }`, 'KVM refuses x2APIC mode'],
    [`${t}machine { disabled-quirks LAPIC_MMIO_HOLE «LINT1» }`, 'is not "LINT1"'],
    [`${t}machine { x2apic-ids «16bit» }`, 'write 8bit or 32bit'],
    [`${t}machine { tsc-khz «0» }`, 'from 1 to'],
    [`${t}machine { maxphyaddr «53» }`, 'from 32 to 52'],
    [`${t}machine { slot-pages «0» }`, 'from 1 to'],
  ])('%s', (marked, message) => faults(marked, message));
});

describe('instructions that go with them', () => {
  const programOf = (block: string): unknown =>
    compiled('vcpus 2 memory 2', block).config.actors.find(({ program }) => program.length > 0)!
      .program;

  test('a register page takes as many words as are given', () => {
    expect(programOf('user { set-lapic-registers vcpu1 0x80 1 0xf0 2 get-lapic vcpu0 }')).toEqual([
      { op: 'set-lapic-registers', operands: [1, 0x80, 1, 0xf0, 2] },
      { op: 'get-lapic', operands: [0] },
    ]);
  });

  test.each<[string, string]>([
    [`${t}user { «set-lapic-registers» vcpu0 0x80 1 0x90 }`, 'lacks its value'],
    [`${t}user { set-lapic-registers vcpu0 «0x81» 1 }`, 'a multiple of 4'],
    [`${t}user { set-lapic-registers vcpu0 «0x400» 1 }`, 'from 0x0 to 0x3fc'],
    [`${t}user { set-guest-debug vcpu0 «BLOCK» }`, 'did you mean "BLOCKIRQ"?'],
    [`${t}vcpu0 { pv-eoi «0x10» }`, 'the guest has no memory'],
    [`${t}machine { memory 1 } vcpu0 { pv-eoi «0xfee00080» }`, 'in guest memory'],
    [`${t}machine { memory 1 } mm { munmap «1» }`, 'from 0x0 to 0x0'],
    [`${t}machine { memory 1 } user { delete-memslot 0 } vcpu0 { read «0x1000» }`, 'memory ends'],
  ])('%s', (marked, message) => faults(marked, message));

  test('where a slot moves guest memory can be anywhere', () => {
    expect(
      compiled('memory 1', 'user { move-memslot 0 0x9000 } vcpu0 { read 0x9000 }'),
    ).toBeDefined();
  });
});

describe('help for a list', () => {
  const labels = (text: string): string[] =>
    complete(text, text.length, vocabulary).map(({ label }) => label);

  test('behind a value stands another, or the next key', () => {
    const first = labels('machine { disabled-quirks ');
    expect([first.includes('LAPIC_MMIO_HOLE'), first.includes('vcpus')]).toEqual([true, false]);
    const next = labels('machine { disabled-quirks LINT0_REENABLED ');
    expect([next.includes('LAPIC_MMIO_HOLE'), next.includes('vcpus')]).toEqual([true, true]);
    expect(labels('machine { apic-id 0 1 boot ')).toContain('reset');
  });

  test('a key and an instruction say that they take more', () => {
    const told = (text: string, word: string): string =>
      JSON.stringify(hover(text, text.indexOf(word) + 1, vocabulary));
    expect(told('machine { apic-id 0 1 }', 'apic-id')).toContain('0 to 4095 …');
    expect(told('user { set-lapic-registers vcpu0 0x80 1 }', 'set-lapic')).toContain('VALUE …');
  });
});
