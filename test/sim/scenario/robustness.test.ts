import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileScenario } from '#sim/scenario/compile.ts';
import { classify, complete, hover } from '#sim/scenario/language.ts';
import { inside, vocabulary } from './marked.ts';

const example = `scenario "a title"
race R01 buggy
set apic-reload-retry off
about """ two
lines """
machine { vcpus 2 boot reset }
vcpu0 { read 0xfee00080 repeat 3 { write 0xfee00080 0x20 } hlt }
mm { migrate apic-access-page }
schedule { mm through migrate_pages "x" vcpu0 5 then random 7 }
expect violated inv-apic-access-hpa at vcpu_enter_guest "VM entry"
expect final (vcpu[0].mode == IN_GUEST_MODE) && !changed(vcpu[1].apic)
`;

const tried = (text: string): void => {
  const { scenario, diagnostics } = compileScenario(text, {}, vocabulary);
  expect(scenario === undefined).toBe(diagnostics.length > 0);
  inside(text, diagnostics);
};

describe('no text makes it throw', () => {
  test('any string', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), tried), { numRuns: 300 });
  });

  test('any words of the language in any order', () => {
    const words = fc.constantFrom(
      ...example.split(/\s+/),
      '{',
      '}',
      '"',
      '"""',
      '#',
      '\n',
      '(',
      'final',
      'expect',
      'repeat',
      'vcpu0',
      'vcpu9',
      '\0',
      '💥',
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 40 }), (all) => tried(all.join(' '))),
      { numRuns: 500 },
    );
  });

  test('every prefix of a scenario has its diagnostics inside', () => {
    expect(compileScenario(example, {}, vocabulary).diagnostics).toEqual([]);
    for (let end = 0; end < example.length; end++) tried(example.slice(0, end));
  });

  test('a scenario without any one of its characters', () => {
    for (let i = 0; i < example.length; i++) tried(example.slice(0, i) + example.slice(i + 1));
  });

  test('large texts end soon', () => {
    const texts = [
      '{',
      '}',
      '(',
      'a ',
      '"',
      '"""',
      '# ',
      'mm {',
      'expect final (',
      '@',
      '\n',
      '\0',
      'x "y" ',
      'schedule { a b } ',
      'repeat 1 {',
      '- ',
      'expect final 1 + ',
    ];
    for (const text of texts) {
      const started = performance.now();
      const { diagnostics } = compileScenario(text.repeat(900_000 / text.length));
      expect(diagnostics.length).toBeLessThanOrEqual(100);
      expect(performance.now() - started, JSON.stringify(text)).toBeLessThan(20_000);
    }
  }, 300_000);
});

test('the editor services bear every place of every prefix', () => {
  for (let end = 0; end <= example.length; end += 7) {
    const text = example.slice(0, end);
    for (const offset of [end, Math.floor(end / 2)]) {
      for (const { replace } of complete(text, offset, vocabulary)) {
        expect(replace.offset + replace.length).toBeLessThanOrEqual(text.length);
      }
      hover(text, offset, vocabulary);
    }
    for (const { offset, length } of classify(text)) {
      expect(offset + length).toBeLessThanOrEqual(text.length);
    }
  }
});

test('the bundled scenarios compile', () => {
  const folder = new URL('../../../main/library/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.scn'));
  for (const name of files) {
    const { diagnostics } = compileScenario(readFileSync(new URL(name, folder), 'utf8'));
    expect({ name, diagnostics }).toEqual({ name, diagnostics: [] });
  }
});
