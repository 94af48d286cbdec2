import { describe, expect, test } from 'vitest';
import { parseScenario } from '#sim/scenario/parse.ts';
import { faults } from './marked.ts';

describe('recovery', () => {
  test('three errors in one text are three diagnostics, and the rest is read', () => {
    faults(
      `scenario "x"
profile «"k6.6"»
machine { vcpus 2 «"many"» }
vcpu1 { hlt }
schedule {
  vcpu0 «thru» vcpu_enter_guest "x"
  vcpu1 on
}
expect «cleen»
expect violated «inv-none»
`,
      'write a profile',
      'write a key',
      'write to FUNCTION',
      'write "clean"',
      'there is no invariant',
    );
  });

  test('a keyword with a slip is named', () => {
    faults('«sceanrio» "x"\nprofile k6.6', 'did you mean "scenario"?');
    faults('scenario "x"\n«profil» k6.6\nexpect clean', 'did you mean "profile"?');
    faults('scenario "x"\n«schedul» { vcpu0 on }', 'did you mean "schedule"?');
  });

  test('a brace without a partner is marked where it opens', () => {
    faults('scenario "x"\nvcpu0 «{» hlt\nmm { }\nexpect clean', 'is not closed');
    faults('scenario "x"\nmm { }\n«}»\nexpect clean', 'cannot stand here');
    faults('scenario "x"\nexpect final «(»1 + 2\nexpect clean', 'is not closed');
  });

  test('an expression that lacks a part names what stands in its place', () => {
    faults('scenario "x"\nexpect final 1 ==\n«expect» clean', 'write a field');
    faults('scenario "x"\nexpect final 1 «==»', 'the text ends too early');
  });

  test('a text without its end counts as ended with the line', () => {
    faults('scenario «"x»\nprofile k6.6', 'add " before the line ends');
    faults('scenario "x" about «"""»\n profile k9', 'add """');
  });

  test('signs that mean nothing are marked once', () => {
    faults('scenario "x"\nprofile «@;» k6.6\nexpect final 1 «=» 1', 'remove it', 'write ==');
  });
});

describe('limits', () => {
  test('of characters', () => {
    const { tree, problems } = parseScenario(`scenario "x"${' '.repeat(1_000_000)}`);
    expect(tree).toEqual([]);
    expect(problems).toMatchObject([{ offset: 1_000_000, length: 12 }]);
  });

  test('of words', () => {
    const { problems } = parseScenario(`mm { ${'a '.repeat(60_000)} }`);
    expect(problems[0]?.message).toContain('at most 50000 words');
  });

  test('of nesting', () => {
    const deep = 'repeat 2 {'.repeat(10_000);
    const { problems } = parseScenario(`scenario "x" mm { ${deep}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.message).toContain('nests deeper than 64');
    const parentheses = parseScenario(`expect final ${'('.repeat(10_000)}`);
    expect(parentheses.problems[0]?.message).toContain('nests deeper than 64');
  });
});
