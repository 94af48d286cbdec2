// What the model knows: profiles, switches, invariants, functions, fields.

import { expect, test } from 'vitest';
import { answer, apicscope } from './apicscope.ts';

interface Known {
  readonly id: string;
  readonly summary: string;
}

test.each(['profiles', 'switches', 'invariants'])('%s have ids and summaries', async (command) => {
  const { status, json } = await answer<Known[]>(command);
  expect(status).toBe(0);
  expect(json.length).toBeGreaterThan(2);
  for (const { id, summary } of json) {
    expect(id).toMatch(/^[a-z0-9._-]+$/);
    expect(summary).not.toBe('');
  }
});

test('every function names its place here and in the kernel or the manual', async () => {
  const { json } =
    await answer<{ id: string; file: string; line: number; source: string }[]>('functions');
  const reload = json.find(({ id }) => id === 'vmx_set_apic_access_page_addr');
  expect(reload).toMatchObject({
    file: 'main/sim/kvm/vmx/vmx.ts',
    source: 'arch/x86/kvm/vmx/vmx.c',
  });
  expect(json.filter(({ file, line, source }) => file === '' || line < 1 || source === '')).toEqual(
    [],
  );
});

test('a glob selects fields; their bits and offsets are those of the declaration', async () => {
  const { json } = await answer<Record<string, unknown>[]>('fields', 'vcpu[0].pi_desc.*');
  const [pir, on, , nv] = json;
  expect(pir).toMatchObject({ path: 'vcpu[0].pi_desc.pir', kind: 'bits', bits: 256 });
  expect(on).toMatchObject({ path: 'vcpu[0].pi_desc.on', kind: 'flag', bits: 1, bit: 0 });
  expect(on?.['doc']).toBe('a notification is outstanding');
  expect(on?.['by']).toContain('`vmx_sync_pir_to_irr`');
  expect(on?.['source']).toContain('SDM 30.6');
  expect(Number(on?.['offset']) - Number(pir?.['offset'])).toBe(0x20);
  expect(Number(nv?.['offset']) - Number(pir?.['offset'])).toBe(0x22);
});

test('the only field that is asked for is told in full', async () => {
  const { out } = await apicscope(['fields', 'vcpu[0].apic.spiv']);
  expect(out).toContain('rule: reset 0xff');
  expect(out).toContain('written by: `apic_set_spiv`');
  expect(out).toContain('see: SDM 11.9');
});

test('a star stays inside one component, two stars do not', async () => {
  const one = await answer<{ path: string }[]>('fields', 'vcpu[1].*');
  const many = await answer<{ path: string }[]>('fields', 'vcpu[1].**');
  expect(one.json.map(({ path }) => path)).toContain('vcpu[1].mode');
  expect(one.json.map(({ path }) => path)).not.toContain('vcpu[1].pi_desc.on');
  expect(many.json.map(({ path }) => path)).toContain('vcpu[1].pi_desc.on');
});

test('no glob takes long', async () => {
  for (const glob of [`${'*'.repeat(121)}Z`, '**e**e**e**e**e**e**e**e**Z', '*.'.repeat(60)]) {
    expect((await apicscope(['fields', glob])).status).toBe(1);
  }
  const { status, err } = await apicscope(['fields', 'v'.repeat(100_000)]);
  expect(status).toBe(2);
  expect(err.length).toBeLessThan(200);
});

test('a glob that fits nothing has found nothing, a misspelt path is a wrong input', async () => {
  expect(await answer('fields', 'zz*')).toEqual({ status: 1, json: [] });
  const { status, err } = await apicscope(['fields', 'vcpu[0].pi_dsc.on']);
  expect(status).toBe(2);
  expect(err).toContain('did you mean vcpu[0].pi_desc.on?');
});
