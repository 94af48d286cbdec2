/** Hovering: what the word at a place is, from where it is declared. */
import { helpLines } from '../../state/help/index.ts';
import { instructionSpecs } from '../../state/program.ts';
import { profileOf, switchOf } from '../../state/switches.ts';
import { machineKeys } from '../compile/machine.ts';
import type { Span } from '../diagnostics.ts';
import { expressionFunctions } from '../expression.ts';
import { foundAt, leafMarkdown, outlineOf } from './fields.ts';
import { type Place, placesBehind } from './place.ts';
import { around } from './tokens_at.ts';
import { emptyVocabulary, type Vocabulary } from './vocabulary.ts';
import * as words from './words.ts';

export interface Hover {
  readonly span: Span;
  readonly markdown: string;
}

const titled = (name: string, ...paragraphs: (string | undefined)[]): string =>
  [`**${name}**`, ...paragraphs.filter((p) => p !== undefined && p !== '')].join('\n\n');

const racesText = (races: readonly string[] | undefined): string | undefined =>
  races === undefined || races.length === 0 ? undefined : `Races: ${races.join(', ')}`;

const profileText = (id: string): string | undefined => {
  const profile = profileOf(id);
  if (profile === undefined) return undefined;
  const values = Object.entries(profile.switches)
    .map(([s, v]) => `- \`${s}\` ${v}`)
    .join('\n');
  return titled(id, profile.summary, values);
};

const switchText = (id: string): string | undefined => {
  const found = switchOf(id);
  return (
    found &&
    titled(
      `${id}: ${found.values.join(' | ')}`,
      found.summary,
      `Since: ${found.since}`,
      racesText(found.races),
    )
  );
};

const instructionText = (op: string): string | undefined => {
  const spec = instructionSpecs.find((s) => s.op === op);
  if (spec === undefined) return undefined;
  const names = spec.operands.map(({ name }) => name.toUpperCase());
  if ('rest' in spec) names.push('…');
  const operands = spec.operands.map(({ name, doc }) => `- ${name.toUpperCase()}: ${doc}`);
  return titled([op, ...names].join(' '), spec.doc, operands.join('\n'));
};

const functionText = (name: string, { functions }: Vocabulary): string | undefined => {
  const found = functions.find((f) => f.name === name);
  return found && titled(name, found.source);
};

const checkText = (id: string, { checks }: Vocabulary): string | undefined => {
  const found = checks.find((c) => c.id === id);
  return found && titled(id, found.summary, found.why, racesText(found.races));
};

const fieldText = (text: string, path: string): string | undefined => {
  const call = expressionFunctions.find(({ name }) => name === path);
  if (call !== undefined) return titled(`${path}(…)`, call.doc);
  const found = foundAt(outlineOf(text).layout, path);
  if ('leaf' in found) return leafMarkdown(found.leaf);
  return 'record' in found ? titled(path, found.record.doc, ...helpLines(path)) : undefined;
};

const keywordLists = [
  words.sectionKeywords,
  words.scheduleForms,
  words.goals,
  [words.thenKeyword],
  words.policies,
  words.expectKinds,
  [words.atKeyword],
  words.twinWords,
  [words.repeatKeyword],
];

const keywordText = (word: string): string | undefined => {
  const found = keywordLists.flat().find((k) => k.word === word);
  return found && titled(word, found.doc);
};

const keyText = (key: string): string | undefined => {
  const found = machineKeys.find((k) => k.key === key);
  if (found === undefined) return undefined;
  const { values } = found;
  const range = 'min' in values ? `${values.min} to ${values.max}` : values.join(' | ');
  const more = found.list === true ? ' …' : '';
  return titled(`${key}: ${range}${more}`, found.doc, `Usually ${found.usual}.`);
};

interface At {
  readonly text: string;
  readonly word: string;
  readonly vocabulary: Vocabulary;
}

const textAt = (place: Place, { text, word, vocabulary }: At): string | undefined => {
  switch (place.kind) {
    case 'profile':
      return profileText(word);
    case 'switch':
      return switchText(word);
    case 'value':
      return switchText(place.of);
    case 'machine-key':
      return keyText(word);
    case 'machine-value':
      return keyText(place.of.key);
    case 'instruction':
      return instructionText(word) ?? keywordText(word);
    case 'operand':
      return titled(place.of.name, place.of.doc);
    case 'function':
      return functionText(word, vocabulary);
    case 'check':
      return checkText(word, vocabulary);
    case 'field':
      return fieldText(text, word);
    case 'actor':
      return keywordText(word);
    case 'section':
    case 'twin':
    case 'schedule':
    case 'goal':
    case 'policy':
    case 'expect':
    case 'at':
      return keywordText(word);
    case 'race':
    case 'title':
    case 'number':
    case 'operator':
      return undefined;
  }
};

/** What the word at the offset is; undefined where there is nothing to say. */
export const hover = (
  text: string,
  offset: number,
  vocabulary: Vocabulary = emptyVocabulary,
): Hover | undefined => {
  const { before, word, isQuoted } = around(text, offset);
  if (word === undefined || isQuoted) return undefined;
  const at = { text, word: word.image, vocabulary };
  for (const place of placesBehind(before)) {
    const markdown = textAt(place, at);
    if (markdown !== undefined) {
      return { span: { offset: word.startOffset, length: word.image.length }, markdown };
    }
  }
  return undefined;
};
