import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leafAt } from '#sim/arena/leaves.ts';
import { compileExpression, type Expression } from '#sim/scenario/expression.ts';
import { layoutOf } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { inside, unmarked } from './marked.ts';

const layout = layoutOf({ vcpus: 2, actors: 4, frames: 8, memoryPages: 1 });
const image = (): Uint32Array => new Uint32Array(layout.bytes / 4);
const place = (path: string): number => leafAt(layout, path)!.word;

const compiled = (text: string): Expression => {
  const result = compileExpression(text, layout);
  if ('diagnostics' in result) throw new Error(result.diagnostics[0]?.message);
  return result.expression;
};
const value = (text: string, words = image()): unknown => compiled(text).value(words);

describe('values', () => {
  test('of fields by their kind', () => {
    const words = image();
    words[place('vcpu[1].mode')] = 1;
    words[place('vcpu[0].cpu')] = 0xffff_ffff;
    words[place('vcpu[0].vmcs01.posted_intr_nv')] = 0xf2;
    words[place('vcpu[0].pi_desc.on')] = 1 << leafAt(layout, 'vcpu[0].pi_desc.on')!.bit;
    expect(value('vcpu[1].mode == IN_GUEST_MODE', words)).toBe(true);
    expect(value('OUTSIDE_GUEST_MODE != vcpu[1].mode', words)).toBe(true);
    expect(value('vcpu[0].cpu', words)).toBe(-1);
    expect(value('vcpu[0].vmcs01.posted_intr_nv', words)).toBe(0xf2);
    expect(value('vcpu[0].pi_desc.on', words)).toBe(true);
    expect(value('vcpu[0].pi_desc.on + vcpu[1].pi_desc.on', words)).toBe(1);
    expect(value('vcpu[0].pi_desc.on == true && vcpu[0].pi_desc.on == 1', words)).toBe(true);
  });

  test('of sets of bits and their elements, by number and by name', () => {
    const words = image();
    words[place('vcpu[0].apic.irr[0x31]')] = 1 << 17;
    words[place(`vcpu[0].requests[${KVM_REQ.APIC_PAGE_RELOAD}]`)] =
      1 << (KVM_REQ.APIC_PAGE_RELOAD & 31);
    expect(value('vcpu[0].apic.irr[0x31]', words)).toBe(true);
    expect(value('vcpu[0].apic.irr[0x30]', words)).toBe(false);
    expect(value('vcpu[0].apic.irr == 1 << 0x31', words)).toBe(true);
    expect(value('highest(vcpu[0].apic.irr)', words)).toBe(0x31);
    expect(value('highest(vcpu[0].apic.isr)', words)).toBe(-1);
    expect(value('vcpu[0].requests[APIC_PAGE_RELOAD]', words)).toBe(true);
    expect(value('highest(vcpu[0].requests) == APIC_PAGE_RELOAD', words)).toBe(true);
    expect(value('popcount(vcpu[0].requests)', words)).toBe(1);
  });

  test('of words of a page', () => {
    const words = image();
    words[place('frame[1].data[0x80]')] = 0xff;
    expect(value('frame[1].data[0x80] & 0x0f', words)).toBe(0x0f);
    expect(value('popcount(frame[1].data)', words)).toBe(8);
  });

  test('with 64 bits are exact', () => {
    const words = image();
    const at = place('vcpu[0].vmcs01.apic_access_addr');
    words[at] = 0x2000;
    expect(value('vcpu[0].vmcs01.apic_access_addr == 0x2000', words)).toBe(true);
    words.fill(0xffff_ffff, at, at + 2);
    expect(value('vcpu[0].vmcs01.apic_access_addr', words)).toBe(0xffff_ffff_ffff_ffffn);
    expect(value('vcpu[0].vmcs01.apic_access_addr == 0xffffffffffffffff', words)).toBe(true);
    expect(value('vcpu[0].vmcs01.apic_access_addr == 0xfffffffffffffffe', words)).toBe(false);
    expect(value('vcpu[0].vmcs01.apic_access_addr > 0xfffffffffffffffe', words)).toBe(true);
    expect(value('vcpu[0].vmcs01.apic_access_addr - 0xffffffffffffffff', words)).toBe(0);
    expect(value('vcpu[0].vmcs01.apic_access_addr >> 60', words)).toBe(15);
    expect(value('popcount(vcpu[0].vmcs01.apic_access_addr)', words)).toBe(64);
    expect(value('highest(vcpu[0].vmcs01.apic_access_addr)', words)).toBe(63);
  });

  test('changed() compares with the state before', () => {
    const before = image();
    const now = image();
    now[place('vcpu[0].apic.tpr')] = 0x20;
    const tpr = compiled('changed(vcpu[0].apic.tpr)');
    expect(tpr.usesPrevious).toBe(true);
    expect([tpr.test(now, before), tpr.test(now, now), tpr.test(now)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(compiled('changed(vcpu[0].apic)').test(now, before)).toBe(true);
    expect(compiled('changed(vcpu[0].apic.ppr)').test(now, before)).toBe(false);
    expect(compiled('changed(vcpu[1])').test(now, before)).toBe(false);
  });

  test('changed() of a flag does not see its neighbour in the word', () => {
    const now = image();
    now[place('vcpu[0].pi_desc.on')] = 1 << leafAt(layout, 'vcpu[0].pi_desc.on')!.bit;
    expect(compiled('changed(vcpu[0].pi_desc.on)').test(now, image())).toBe(true);
    expect(compiled('changed(vcpu[0].pi_desc.sn)').test(now, image())).toBe(false);
  });

  test('an expression says which words it reads', () => {
    const { words } = compiled(
      'vcpu[1].mode == 1 || vcpu[0].vmcs01.apic_access_addr || vcpu[0].mode',
    );
    const at = place('vcpu[0].vmcs01.apic_access_addr');
    const all = [place('vcpu[0].mode'), at, at + 1, place('vcpu[1].mode')];
    expect(words).toEqual(all.sort((a, b) => a - b));
  });
});

describe('precedence is that of C', () => {
  test.each<[string, number | boolean | bigint]>([
    ['1 + 2 * 3', 7],
    ['(1 + 2) * 3', 9],
    ['10 - 3 - 2', 5],
    ['1 << 2 + 1', 8],
    ['1 | 2 ^ 3 & 1', 3],
    ['1 & 1 == 2', 0],
    ['5 & 3 == 3', 1],
    ['1 < 2 == 1', true],
    ['1 || 0 && 0', true],
    ['!0 && 1', true],
    ['!1 == 0', true],
    ['-3 + 5', 2],
    ['--3', 3],
    ['!!7', true],
    ['2 * -3', -6],
    ['0x10 >> 2 >> 1', 2],
    ['3 > 2 > 1', false],
    ['1 <= 1 && 2 >= 3', false],
    ['1 - -1', 2],
    ['1 << 64', 0x1_0000_0000_0000_0000n],
    ['1 << 256', 0],
    ['-1 >> 1', -1],
    ['-1 & 0xff', 0xff],
    ['0xffffffff + 1', 0x1_0000_0000],
    ['0x1fffffffffffff + 1', 0x20_0000_0000_0000n],
    ['0xffffffff * 0xffffffff', 0xffff_fffe_0000_0001n],
    ['popcount(0xff) + highest(0x100)', 16],
    ['highest(0)', -1],
    ['highest(1 << 99)', 99],
    ['true + true', 2],
    ['-0 == 0', true],
  ])('%s', (text, wanted) => {
    expect(value(text)).toBe(wanted);
  });

  type Tree = string | [string, Tree, Tree];
  const operators = ['|', '^', '&', '+', '-', '*', '==', '!=', '<', '<=', '>', '>=', '&&', '||'];
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.bigInt(0n, 2n ** 64n).map(String),
      fc.tuple(fc.constantFrom(...operators), tie('tree'), tie('tree')),
    ),
  }));
  const written = (t: Tree): string =>
    typeof t === 'string' ? t : `(${written(t[1])} ${t[0]} ${written(t[2])})`;
  const reference = (t: Tree): bigint => {
    if (typeof t === 'string') return BigInt(t);
    const a = reference(t[1]);
    const b = reference(t[2]);
    const results: Record<string, bigint | boolean> = {
      '|': a | b,
      '^': a ^ b,
      '&': a & b,
      '+': a + b,
      '-': a - b,
      '*': a * b,
      '==': a === b,
      '!=': a !== b,
      '<': a < b,
      '<=': a <= b,
      '>': a > b,
      '>=': a >= b,
      '&&': a !== 0n && b !== 0n,
      '||': a !== 0n || b !== 0n,
    };
    return BigInt(results[t[0]]!);
  };

  test('any tree has the value that whole numbers give it', () => {
    fc.assert(
      fc.property(tree, (t) => {
        const result = compiled(written(t)).value(image());
        expect(BigInt(result)).toBe(reference(t));
      }),
    );
  });

  test('text without parentheses groups as the language of the tests does', () => {
    const same = ['|', '^', '&', '+', '-', '*', '<', '>', '<=', '>=', '&&', '||'];
    const chain = fc.tuple(
      fc.nat(20),
      fc.array(fc.tuple(fc.constantFrom(...same), fc.nat(20)), { maxLength: 8 }),
    );
    fc.assert(
      fc.property(chain, ([first, rest]) => {
        const text = rest.reduce((all, [op, n]) => `${all} ${op} ${n}`, String(first));
        const wanted = new Function(`return !!(${text})`)() as boolean;
        expect(compiled(text).test(image())).toBe(wanted);
      }),
    );
  });
});

describe('diagnostics', () => {
  test.each<[string, string]>([
    ['vcpu[0].«mod»', 'did you mean "mode"?'],
    ['«vpu»[0].mode', 'did you mean "vcpu"?'],
    ['vcpu[«2»].mode', 'goes from 0 to 1'],
    ['«vcpu».mode', 'write vcpu[0]'],
    ['vcpu[0].«mode[1]»', 'is a single field'],
    ['vcpu[0].mode.«x»', 'has no fields of its own'],
    ['«vcpu[0].apic»', 'name a field of it'],
    ['vcpu[0].requests[«APIC_PAGE_REALOD»]', 'did you mean "APIC_PAGE_RELOAD"?'],
    ['vcpu[0].mode == «IN_GUST_MODE»', 'did you mean "IN_GUEST_MODE"?'],
    ['vcpu[0].apic.irr[«256»]', 'goes from 0 to 255'],
    ['frame[1].data[«2»]', 'multiple of 4'],
    ['«frame[1].data» == 0', 'bytes of a page'],
    ['«chnged»(vcpu[0].mode)', 'did you mean "changed"?'],
    ['«changed»(1)', 'write changed(PATH)'],
    ['1 + «0x»', 'is no number'],
    ['1 «2»', 'cannot stand here'],
    ['1 «=» 2', 'write =='],
    ['1 «/» 2', 'remove it'],
    ['1 «+»', 'ends too early'],
    ['«(»1', 'is not closed'],
    ['1 + «expect»', 'cannot stand here'],
    ['«vcpu[0»', 'is no part of a path'],
  ])('%s', (marked, message) => {
    const { text, spans } = unmarked(marked);
    const result = compileExpression(text, layout);
    const diagnostics = 'diagnostics' in result ? result.diagnostics : [];
    expect(diagnostics.map(({ offset, length }) => ({ offset, length }))).toEqual(spans);
    expect(diagnostics[0]?.message).toContain(message);
  });

  test('length and nesting are limited', () => {
    for (const text of ['('.repeat(4000), '!'.repeat(4000), '1+'.repeat(3000), '-'.repeat(9000)]) {
      expect(compileExpression(text, layout)).toHaveProperty('diagnostics');
    }
    expect(compiled(`${'!'.repeat(4000)}1`).test(image())).toBe(true);
    expect(compiled(Array(1500).fill('1').join('+')).value(image())).toBe(1500);
  });

  test('any text gives an expression or diagnostics inside it', () => {
    const words = fc.array(
      fc.constantFrom(
        'vcpu[0].mode',
        '1',
        '(',
        ')',
        '==',
        '-',
        '!',
        'a.b[',
        'changed',
        '&&',
        'expect',
        '"',
        '#',
        '{',
        '}',
        '\n',
        '@',
        '0xz',
      ),
      { maxLength: 12 },
    );
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      words.map((w) => w.join(' ')),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const result = compileExpression(text, layout);
        if ('diagnostics' in result) {
          expect(result.diagnostics.length).toBeGreaterThan(0);
          inside(text, result.diagnostics);
        } else result.expression.value(image(), image());
      }),
      { numRuns: 500 },
    );
  });
});
