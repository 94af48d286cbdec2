import { describe, expect, test } from 'vitest';
import { sectionKeywords } from '#sim/scenario/language/words.ts';
import { classify, complete, hover } from '#sim/scenario/language.ts';
import { sectionWords } from '#sim/scenario/parse/tokens.ts';
import { vocabulary } from './marked.ts';

/** `|` is the cursor. */
const at = (marked: string): { text: string; offset: number } => ({
  text: marked.replace('|', ''),
  offset: marked.indexOf('|'),
});

const labels = (marked: string): string[] => {
  const { text, offset } = at(marked);
  return complete(text, offset, vocabulary).map(({ label }) => label);
};

test('every keyword of the grammar that begins a section is explained', () => {
  expect(sectionKeywords.map(({ word }) => word).sort()).toEqual([...sectionWords].sort());
});

describe('completion', () => {
  test.each<[string, string[], string[]]>([
    ['|', ['scenario', 'expect', 'vcpu0', 'mm'], ['hlt']],
    ['scenario "x" pro|', ['profile'], ['hlt']],
    ['scenario "x" mm { } |', ['user', 'vcpu0'], ['mm']],
    ['scenario "|"', [], ['scenario']],
    ['# a |', [], ['scenario']],
    ['profile |', ['k4.15', 'k6.6'], ['scenario']],
    ['profile k4|', ['k4.15'], ['scenario']],
    ['set |', ['apic-reload-retry'], ['on']],
    ['set apic-reload-hook |', ['standard', 'range_start'], ['on']],
    ['race R01 |', ['buggy', 'fixed', 'profile'], []],
    ['machine { |', ['vcpus', 'boot'], ['machine']],
    ['machine { vcpus 1 boot |', ['settled', 'reset'], ['vcpus']],
    ['machine { vcpus 1 } |', ['schedule'], ['vcpus']],
    ['vcpu0 { |', ['read', 'hlt', 'repeat'], ['migrate']],
    ['vcpu0 { read 0xfee00080 |', ['read', 'hlt'], []],
    ['vcpu0 { read |', ['0xfee00080'], ['read']],
    ['vcpu0 { rdmsr |', ['0x830'], ['rdmsr']],
    ['machine { vcpus 2 } dev { msi 0x41 |', ['vcpu0', 'vcpu1'], ['msi']],
    ['user { inhibit-apicv |', ['BLOCKIRQ'], ['user']],
    ['clock { |', ['advance'], ['hlt']],
    ['machine { x2apic |', ['on', 'off'], ['x2apic']],
    ['mm { |', ['migrate', 'madvise-dontneed'], ['read']],
    ['mm { migrate |', ['apic-access-page'], ['migrate']],
    ['schedule |', ['exact'], ['mm']],
    ['mm { } schedule { |', ['mm', 'vcpu0', 'irq0', 'then'], ['user']],
    ['schedule { vcpu0 |', ['to', 'through', 'on'], ['vcpu0']],
    ['schedule { vcpu0 to |', ['vcpu_enter_guest'], ['to']],
    ['schedule { vcpu0 to vcpu_enter_guest "x" |', ['vcpu0', 'then'], ['to']],
    ['schedule { vcpu0 on then |', ['round-robin', 'random'], ['vcpu0']],
    ['expect |', ['clean', 'violated', 'ends', 'final'], ['scenario']],
    ['expect violated |', ['inv-apic-access-hpa'], ['clean']],
    ['expect violated inv-apic-access-hpa |', ['at', 'expect'], []],
    ['expect violated inv-apic-access-hpa at |', ['vcpu_enter_guest'], ['at']],
    ['expect final |', ['vcpu', 'vm', 'changed'], ['mode', 'expect']],
    ['expect final vcpu[0].|', ['mode', 'apic'], ['vcpu', 'changed']],
    ['expect final vcpu[0].mo|', ['mode'], []],
    ['expect final vcpu[|', ['0'], ['1', 'mode']],
    ['machine { vcpus 2 } expect final vcpu[|', ['0', '1'], []],
    ['expect final vcpu[0].requests[|', ['APIC_PAGE_RELOAD'], ['0']],
    ['expect final vcpu[0].mode == |', ['IN_GUEST_MODE', 'vcpu'], []],
    ['expect final vcpu[0].mode == 1 |', ['expect', 'schedule'], ['vcpu']],
  ])('%s', (marked, wanted, unwanted) => {
    const found = labels(marked);
    expect(wanted.filter((label) => !found.includes(label))).toEqual([]);
    expect(unwanted.filter((label) => found.includes(label))).toEqual([]);
  });

  test('replaces the word, of a path only the part behind the last dot', () => {
    const { text, offset } = at('expect final vcpu[0].mo|');
    const item = complete(text, offset).find(({ label }) => label === 'mode')!;
    expect(item.replace).toEqual({ offset: 21, length: 2 });
    const profile = complete('profile k4', 10)[0]!;
    expect(profile.replace).toEqual({ offset: 8, length: 2 });
  });
});

describe('hovering', () => {
  test.each<[string, string, string]>([
    ['pro|file k6.6', 'profile', 'presets'],
    ['profile k6.|6', 'k6.6', 'apic-reload-retry'],
    ['set apic-re|load-retry on', 'apic-reload-retry', 'R01'],
    ['set apic-reload-retry o|n', 'on', 'apic-reload-retry'],
    ['machine { bo|ot reset }', 'boot', 'settled'],
    ['vcpu0 { re|ad 0xfee00080 }', 'read', 'reads 4 bytes'],
    ['iommu { po|st 0x41 vcpu0 }', 'post', 'NDST'],
    ['machine { inter|rupts on }', 'interrupts', 'SPIV'],
    ['vcpu0 { read 0xfee|00080 }', '0xfee00080', 'guest-physical'],
    ['schedule { vcpu0 to vcpu_en|ter_guest }', 'vcpu_enter_guest', 'arch/x86/kvm/x86.c'],
    ['schedule { vcpu0 thr|ough x }', 'through', 'returned'],
    ['expect violated inv-ap|ic-access-hpa', 'inv-apic-access-hpa', 'bytes leak'],
    ['expect final vcpu[0].mo|de == 1', 'vcpu[0].mode', 'IN_GUEST_MODE'],
    ['expect final vcpu[0].vmcs01.apic_ac|cess_addr', 'vcpu[0].vmcs01.apic_access_addr', '0x2014'],
    ['expect final vcpu[0].apic.sp|iv', 'vcpu[0].apic.spiv', 'written by: `apic_set_spiv`'],
    ['expect final changed(vcpu[0].ap|ic)', 'vcpu[0].apic', 'arch/x86/kvm/lapic.h'],
    ['expect final cha|nged(vm)', 'changed', 'differs'],
  ])('%s', (marked, word, wanted) => {
    const { text, offset } = at(marked);
    const found = hover(text, offset, vocabulary);
    expect(text.slice(found!.span.offset).startsWith(word)).toBe(true);
    expect(found!.span.length).toBe(word.length);
    expect(found!.markdown).toContain(wanted);
  });

  test('says nothing in texts, comments and of unknown words', () => {
    for (const marked of ['scenario "pro|file"', '# prof|ile', 'profile k|9', ' | ']) {
      const { text, offset } = at(marked);
      expect(hover(text, offset, vocabulary)).toBeUndefined();
    }
  });
});

test('each word has its colour', () => {
  const text = 'set x on # c\nschedule { mm on 5 } expect final vcpu[0].mode == IN "t"';
  const found = classify(text).map(
    ({ kind, offset, length }) => `${kind}:${text.slice(offset, offset + length)}`,
  );
  expect(found).toEqual([
    'keyword:set',
    'name:x',
    'name:on',
    'comment:# c',
    'keyword:schedule',
    'operator:{',
    'name:mm',
    'keyword:on',
    'number:5',
    'operator:}',
    'keyword:expect',
    'keyword:final',
    'path:vcpu[0].mode',
    'operator:==',
    'name:IN',
    'string:"t"',
  ]);
});
