/** Texts with «marks» around the place where a diagnostic is expected. */
import { expect } from 'vitest';
import { compileScenario } from '#sim/scenario/compile.ts';
import type { Diagnostic } from '#sim/scenario/diagnostics.ts';
import type { Vocabulary } from '#sim/scenario/language/vocabulary.ts';

export const vocabulary: Vocabulary = {
  checks: [
    {
      id: 'inv-apic-access-hpa',
      summary: 'the VMCS names the frame',
      why: 'else bytes leak',
      races: ['R01'],
    },
    { id: 'inv-no-raw-apic-page', summary: 'no access reaches the bytes' },
  ],
  functions: [
    { name: 'vcpu_enter_guest', world: 'kvm', source: 'arch/x86/kvm/x86.c' },
    { name: 'vmx_set_apic_access_page_addr', world: 'kvm', source: 'arch/x86/kvm/vmx/vmx.c' },
    { name: 'migrate_pages', world: 'linux', source: 'mm/migrate.c' },
  ],
};

export const unmarked = (
  marked: string,
): { text: string; spans: { offset: number; length: number }[] } => {
  const spans: { offset: number; length: number }[] = [];
  let text = '';
  for (const [i, part] of marked.split(/[«»]/).entries()) {
    if (i % 2 === 1) spans.push({ offset: text.length, length: part.length });
    text += part;
  }
  return { text, spans };
};

export const inside = (text: string, diagnostics: readonly Diagnostic[]): void => {
  for (const d of diagnostics) {
    expect(d.offset).toBeGreaterThanOrEqual(0);
    expect(d.offset + d.length).toBeLessThanOrEqual(text.length);
    const lines = text.split('\n');
    expect(d.column - 1).toBeLessThanOrEqual(lines[d.line - 1]!.length);
    expect(d.endColumn - 1).toBeLessThanOrEqual(lines[d.endLine - 1]!.length);
    expect(d.message).not.toBe('');
  }
};

/** The scenario has exactly the marked faults, in this order, with these words in them. */
export const faults = (marked: string, ...messages: string[]): void => {
  const { text, spans } = unmarked(marked);
  const { diagnostics, scenario } = compileScenario(text, {}, vocabulary);
  expect(diagnostics.map(({ offset, length }) => ({ offset, length }))).toEqual(spans);
  for (const [i, message] of messages.entries()) {
    expect(diagnostics[i]?.message).toContain(message);
  }
  expect(scenario).toBeUndefined();
  inside(text, diagnostics);
};
