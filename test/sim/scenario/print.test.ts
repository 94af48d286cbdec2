import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileScenario } from '#sim/scenario/compile.ts';
import { columnsMax, withSchedule } from '#sim/scenario/print.ts';
import { scheduleText } from '#sim/sched/schedule.ts';

describe('withSchedule', () => {
  test('puts the schedule in place of the directives and leaves the rest alone', () => {
    const text =
      'scenario "x" # why\nmm { }\n\nschedule {\n  mm on # until then\n}\nexpect clean\n';
    expect(withSchedule(text, 'mm*3 vcpu0')).toBe(
      'scenario "x" # why\nmm { }\n\nschedule exact "mm*3 vcpu0"\nexpect clean\n',
    );
  });

  test('puts it in place of an exact one', () => {
    expect(withSchedule('scenario "x"\nschedule exact "mm" "mm"\n', 'vcpu0')).toBe(
      'scenario "x"\nschedule exact "vcpu0"\n',
    );
  });

  test('puts it before the expectations, or at the end', () => {
    expect(withSchedule('scenario "x"\nexpect clean\n', 'vcpu0')).toBe(
      'scenario "x"\nschedule exact "vcpu0"\n\nexpect clean\n',
    );
    expect(withSchedule('scenario "x"', 'vcpu0')).toBe('scenario "x"\n\nschedule exact "vcpu0"\n');
  });

  test('changes nothing for an empty schedule', () => {
    expect(withSchedule('scenario "x"', ' ')).toBe('scenario "x"');
  });

  test('gives a text whose schedule is that schedule, in lines of 72 columns', () => {
    const item = fc.tuple(
      fc.constantFrom('mm', 'vcpu0', 'irq0'),
      fc.integer({ min: 1, max: 99_999 }),
    );
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 60 }), (items) => {
        const schedule = items.map(([actor, count]) => `${actor}*${count}`).join(' ');
        const text = withSchedule('scenario "x"\nmm { }\nexpect clean\n', schedule);
        const { scenario } = compileScenario(text);
        expect(scheduleText(scenario!.schedule!).replaceAll(/\*1\b/g, '')).toBe(
          schedule.replaceAll(/\*1(?=\s|$)/g, ''),
        );
        expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(
          columnsMax,
        );
      }),
    );
  });
});
