/** Writing into the text of a scenario, so that the rest of it stays as its author wrote it. */

import type { Section } from './parse/tree.ts';
import { parseScenario } from './parse.ts';

/** Columns that a line may have, so that the text survives a mail. */
export const columnsMax = 72;

const linesOf = (schedule: string, width: number): string[] => {
  const lines: string[] = [];
  let line = '';
  for (const item of schedule.split(/\s+/)) {
    if (line !== '' && line.length + 1 + item.length > width) {
      lines.push(line);
      line = item;
    } else line = line === '' ? item : `${line} ${item}`;
  }
  return [...lines, line];
};

/** `schedule exact "…"`, over several strings where one would be too long. */
export const scheduleSection = (schedule: string): string => {
  const text = schedule.trim();
  const short = `schedule exact "${text}"`;
  if (short.length <= columnsMax && !text.includes('\n')) return short;
  const indent = '  ';
  const lines = linesOf(text, columnsMax - indent.length - 2);
  return ['schedule exact', ...lines.map((line) => `${indent}"${line}"`)].join('\n');
};

const isSchedule = ({ kind }: Section): boolean => kind === 'schedule' || kind === 'exact';

/**
 * The text with that exact schedule: in place of the one that it has, else before the first
 * expectation, else at the end. An empty schedule, which no text can have, changes nothing.
 */
export const withSchedule = (text: string, schedule: string): string => {
  if (schedule.trim() === '') return text;
  const { tree } = parseScenario(text);
  const section = scheduleSection(schedule);
  const old = tree.find(isSchedule);
  if (old !== undefined) {
    return text.slice(0, old.offset) + section + text.slice(old.offset + old.length);
  }
  const expect = tree.find(({ kind }) => kind === 'expect');
  if (expect !== undefined) {
    return `${text.slice(0, expect.offset)}${section}\n\n${text.slice(expect.offset)}`;
  }
  return `${text.trimEnd()}\n\n${section}\n`;
};
