// Cases that bundled scenarios tell: that nothing passes unless the run has shown it.

import { expect, test } from 'vitest';
import type { JsonObject } from '../../main/conformance/adapter.ts';
import type { Case } from '../../main/conformance/load.ts';
import { mixed } from '../../main/conformance/mixed/adapter.ts';
import { expects, toldByScenario } from '../../main/conformance/mixed/expects.ts';
import { machinesOf, scenarioOf } from '../../main/conformance/mixed/scenarios.ts';
import { runCase } from '../../main/conformance/run.ts';

interface Step {
  readonly actor: string;
  readonly op?: JsonObject;
  readonly expect?: JsonObject;
}

const caseOf = (id: string, steps: readonly Step[], expected: JsonObject = {}): Case => ({
  id,
  given: {},
  steps: steps.map(({ actor, op, expect: held }) => {
    return { op: { actor, op: 'observe', ...op }, expect: held ?? {} };
  }),
  expect: expected,
  expectV616: {},
  differsInV616From: undefined,
  sequence: true,
});

const run = (one: Case) => runCase(mixed, { suite: 'scenarios' }, one, 'k7.0');

const onL1 = (...expected: JsonObject[]): Step[] =>
  expected.map((one) => ({ actor: 'cpu0.l1', expect: one }));

/** What a case may say of a scenario, what it says wrongly, and what the run has shown instead. */
const pairs: readonly (readonly [string, string, Step[], Step[], unknown])[] = [
  [
    'the reason of an exit',
    'scn-00001',
    onL1({ outcome: 'vm-exit', exit_reason: 1, exit_name: 'EXTERNAL_INTERRUPT' }),
    onL1({ exit_reason: 18 }),
    1,
  ],
  [
    'that a second exit comes behind the first',
    'scn-00001',
    onL1({ exit_reason: 1 }, { exit_reason: 18, guest_instructions_executed: 1 }),
    onL1({ exit_reason: 1 }, { exit_reason: 18 }, { outcome: 'vm-exit' }),
    'no exit',
  ],
  [
    'how many instructions L2 has executed',
    'scn-00001',
    onL1({ guest_instructions_executed: 0 }),
    onL1({ guest_instructions_executed: 1 }),
    0,
  ],
  [
    'that L2 goes on',
    'scn-00016',
    onL1({ exit_reason: 1 }, { l2_continues: true }),
    onL1({ l2_continues: true }),
    false,
  ],
  ['a vector', 'scn-00001', onL1({ delivered: [241] }), onL1({ delivered: [240] }), [241]],
  [
    'that nothing more is delivered',
    'scn-00001',
    onL1({ delivered: [241] }, { delivered: [] }),
    onL1({ delivered: [] }),
    [241],
  ],
  ['the level', 'scn-00016', onL1({ delivered_in: 'l1' }), onL1({ delivered_in: 'l2' }), 'l1'],
  [
    'what is read',
    'scn-00104',
    onL1({ mode: 'x2apic' }, { value: '0x1' }, { value: '0x0' }),
    onL1({ value: '0x0' }, { value: '0x1' }),
    undefined,
  ],
  [
    'the mode of the APIC, in its order',
    'scn-00104',
    onL1({ mode: 'xapic' }, { mode: 'x2apic' }),
    onL1({ mode: 'x2apic' }, { mode: 'xapic' }),
    'x2apic',
  ],
  [
    'reasons why APICv is off',
    'scn-00103',
    onL1({ apicv_inhibits: ['APIC_ID_MODIFIED'] }, { apicv_inhibits: [] }),
    onL1({ apicv_inhibits: ['ABSENT'] }),
    [],
  ],
  [
    'a #GP too many',
    'scn-00030',
    [{ actor: 'cpu1', expect: { outcome: '#GP' } }],
    [1, 2].map(() => ({ actor: 'cpu1', expect: { outcome: '#GP' } })),
    'completes',
  ],
  [
    'that INIT has reset the vCPU',
    'scn-00011',
    [{ actor: 'cpu1', expect: { reset_by_init: true, keeps_running: false } }],
    [{ actor: 'cpu0', expect: { reset_by_init: true } }],
    false,
  ],
  [
    'a bit of TMR',
    'scn-00056',
    [{ actor: 'cpu0', op: { op: 'reg.read-bit', vector: 121 }, expect: { value: 1 } }],
    [{ actor: 'cpu0', op: { op: 'reg.read-bit', vector: 120 }, expect: { value: 1 } }],
    undefined,
  ],
  [
    'one of several values',
    'scn-00030',
    [{ actor: 'cpu1', expect: { one_of: ['0x5', '0x02000000'] } }],
    [{ actor: 'cpu1', expect: { one_of: ['0x5'] } }],
    undefined,
  ],
  [
    'a bound',
    'scn-00050',
    [{ actor: 'cpu0', expect: { below: '0x004ccccc', nonzero: false } }],
    [{ actor: 'cpu0', expect: { below: '0x0' } }],
    undefined,
  ],
  [
    'a bit of what is compared',
    'scn-00089',
    [{ actor: 'cpu0', expect: { bit8: 1 } }],
    [{ actor: 'cpu1', expect: { bit8: 1 } }],
    0,
  ],
  [
    'a flag of CPUID',
    'scn-00025',
    [{ actor: 'cpu0', expect: { cpuid_1_edx_apic: 0 } }],
    [{ actor: 'cpu0', expect: { cpuid_1_edx_apic: 1 } }],
    0,
  ],
];

test.each(pairs)('%s is compared', (_, id, right, wrong, got) => {
  expect(run(caseOf(id, right))).toEqual([]);
  const [difference, ...others] = run(caseOf(id, wrong));
  expect(difference).toMatchObject(got === undefined ? { path: expect.any(String) } : { got });
  expect(others).toEqual([]);
});

const vmcall = { outcome: 'vm-exit', exit_reason: 18, exit_name: 'VMCALL' };

/** The same for what holds at the end. */
const ends: readonly (readonly [string, string, JsonObject, JsonObject])[] = [
  ['all exits', 'scn-00100', { exits_to_l1: [vmcall] }, { exits_to_l1: [] }],
  ['exits that did not come', 'scn-00013', { not_exits: ['SIPI'] }, { not_exits: ['VMCALL'] }],
  ['the levels', 'scn-00019', { delivered_in: 'l2' }, { delivered_in: 'l1' }],
  ['NMIs', 'scn-00024', { nmi_delivered_to_l2: 0 }, { nmi_delivered_to_l2: 1 }],
  ['counts', 'scn-00066', { handler_runs: { 131: 2 } }, { handler_runs: { 131: 1 } }],
  ['other vectors', 'scn-00036', { handler_runs: { 241: 1 } }, { handler_runs: { 240: 1 } }],
  ['all handlers', 'scn-00034', { handler_runs_total: 2 }, { handler_runs_total: 4 }],
  ['who took it', 'scn-00060', { handled_by: 'cpu0' }, { handled_by: 'cpu1' }],
  ['the vector', 'scn-00055', { vector: 121 }, { vector: 120 }],
  ['TMR', 'scn-00060', { tmr_bit_in_handler: 1 }, { tmr_bit_in_handler: 0 }],
  ['remote IRR', 'scn-00060', { remote_irr_finally: 0 }, { remote_irr_finally: 1 }],
  ['of a pin', 'scn-00006', { ioapic_remote_irr: { 15: 0 } }, { ioapic_remote_irr: { 15: 1 } }],
];

test.each(ends)('at the end of a case: %s', (_, id, right, wrong) => {
  expect(run(caseOf(id, [], right))).toEqual([]);
  expect(run(caseOf(id, [], wrong))).not.toEqual([]);
});

test('a scenario whose own expectations fail tells no case', () => {
  const one = caseOf('scn-00104', []);
  const [difference] = runCase(mixed, { suite: 'scenarios' }, one, 'k6.13');
  expect(difference!.got).toMatch(/^nested-mode-switch-eoi: expected final /);
});

test.each<[string, Case, RegExp]>([
  ['case', caseOf('scn-00002', []), /no bundled scenario tells the case scn-00002/],
  ['id that objects have', caseOf('toString', []), /no bundled scenario tells/],
  ['key', caseOf('scn-00001', [], { moon: 1 }), /no adapter knows expect "moon"/],
  ['key of a VM', caseOf('scn-00091', [], { moon: 1 }), /no adapter knows expect "moon"/],
])('an unknown %s is a failure', (_, one, says) => {
  expect(run(one)).toMatchObject([{ got: expect.stringMatching(says) }]);
});

test('what KVM answers when a VM is created is what the compiler says', () => {
  const user = (...returns: string[]): Step[] =>
    returns.map((one) => ({ actor: 'user', expect: { return: one } }));
  expect(run(caseOf('scn-00091', user('EINVAL', 'error')))).toEqual([]);
  expect(run(caseOf('scn-00091', user('ok')))).toMatchObject([{ got: 'EINVAL' }]);
  expect(run(caseOf('scn-00091', user('EINVAL', 'EINVAL', 'ok')))).toHaveLength(1);
  expect(run(caseOf('scn-00094', user('error', 'ok', 'EINVAL', 'error', 'ok')))).toEqual([]);
});

test('a case has one entry in the tables, and a key one way to be read', () => {
  const ids = [scenarioOf, machinesOf].flatMap((table) => Object.keys(table));
  expect(new Set(ids).size).toBe(ids.length);
  expect([...toldByScenario].filter((key) => key in expects)).toEqual([]);
});
