/** Completion: what may be written at a place. */
import { profiles, switches, switchOf } from '../../state/switches.ts';
import { actorsWithBlocks } from '../compile/actors.ts';
import { machineKeys } from '../compile/machine.ts';
import { apicAccessPageName } from '../compile/operands.ts';
import { specsOf } from '../compile/program.ts';
import type { Span } from '../diagnostics.ts';
import { expressionFunctions } from '../expression.ts';
import { continuations, type Outline, outlineOf, valueNames } from './fields.ts';
import { type Place, placesBehind } from './place.ts';
import { around } from './tokens_at.ts';
import { emptyVocabulary, type Vocabulary } from './vocabulary.ts';
import * as words from './words.ts';

export type CompletionKind =
  | 'keyword'
  | 'profile'
  | 'switch'
  | 'value'
  | 'key'
  | 'instruction'
  | 'actor'
  | 'function'
  | 'invariant'
  | 'field';

export interface CompletionItem {
  readonly label: string;
  readonly kind: CompletionKind;
  /** short, beside the label */
  readonly detail: string;
  readonly documentation: string;
  readonly insertText: string;
  /** what the inserted text takes the place of */
  readonly replace: Span;
}

type Offer = Omit<CompletionItem, 'replace'>;

const offer = (
  kind: CompletionKind,
  label: string,
  documentation: string,
  more: Partial<Offer> = {},
): Offer => ({ kind, label, documentation, detail: '', insertText: label, ...more });

const keyword = ({ word, doc, insert }: words.KeywordDoc): Offer =>
  offer('keyword', word, doc, { insertText: insert ?? word });

const newPrograms = ({ vcpus, programmed }: Outline): Offer[] =>
  [...Array.from({ length: vcpus }, (_, i) => `vcpu${i}`), ...actorsWithBlocks]
    .filter((name) => !programmed.includes(name))
    .map((name) => offer('actor', name, `what ${name} does`, { insertText: `${name} {  }` }));

/** Well-known registers: what a guest does most with its APIC. */
const registers: readonly (readonly [string, string])[] = [
  ['0xfee00080', 'TPR'],
  ['0xfee000b0', 'EOI'],
  ['0xfee000f0', 'SPIV'],
  ['0xfee00300', 'ICR'],
  ['0xfee00310', 'ICR2: destination'],
  ['0xfee00320', 'LVTT'],
  ['0xfee00380', 'TMICT'],
];
const msrs: readonly (readonly [string, string])[] = [
  ['0x1b', 'IA32_APIC_BASE'],
  ['0x6e0', 'IA32_TSC_DEADLINE'],
  ['0x808', 'TPR'],
  ['0x80b', 'EOI'],
  ['0x80f', 'SIVR'],
  ['0x830', 'ICR'],
  ['0x83f', 'SELF IPI'],
];

const operandOffers = (
  { of }: Extract<Place, { kind: 'operand' }>,
  { vcpus }: Outline,
): Offer[] => {
  const offered = (label: string, detail = ''): Offer => offer('value', label, of.doc, { detail });
  const each = (prefix: string): Offer[] =>
    Array.from({ length: vcpus }, (_, i) => offered(`${prefix}${i}`));
  switch (of.kind) {
    case 'page':
      return [offered(apicAccessPageName)];
    case 'gpa':
      return registers.map(([address, name]) => offered(address, name));
    case 'msr':
      return msrs.map(([number, name]) => offered(number, name));
    case 'vcpu':
    case 'cpu':
      return each(of.kind);
    case 'u32':
      return Object.keys(of.names ?? {}).map((name) => offered(name));
  }
};

/** Fields are offered apart: they replace only a part of the word. */
const offersAt = (place: Place, outline: Outline, vocabulary: Vocabulary): Offer[] => {
  switch (place.kind) {
    case 'section':
      return [...words.sectionKeywords.map(keyword), ...newPrograms(outline)];
    case 'twin':
      return words.twinWords.map(keyword);
    case 'profile':
      return profiles.map((p) => offer('profile', p.id, p.summary));
    case 'switch':
      return switches.map((s) =>
        offer('switch', s.id, s.summary, { detail: s.values.join(' | ') }),
      );
    case 'value': {
      const declared = switchOf(place.of);
      return (declared?.values ?? []).map((v) => offer('value', v, declared!.summary));
    }
    case 'machine-key':
      return machineKeys.map((k) => offer('key', k.key, k.doc, { detail: `usually ${k.usual}` }));
    case 'machine-value': {
      const { values, doc, usual } = place.of;
      return 'min' in values
        ? [offer('value', usual.split(',')[0]!, doc)]
        : values.map((value) => offer('value', value, doc));
    }
    case 'instruction':
      return [
        ...specsOf(place.by).map((s) =>
          offer('instruction', s.op, s.doc, {
            detail: s.operands.map(({ name }) => name.toUpperCase()).join(' '),
          }),
        ),
        keyword(words.repeatKeyword),
      ];
    case 'operand':
      return operandOffers(place, outline);
    case 'schedule':
      return words.scheduleForms.map(keyword);
    case 'actor':
      return [
        ...outline.actors.map((name) => offer('actor', name, `lets ${name} go on`)),
        keyword(words.thenKeyword),
      ];
    case 'goal':
      return words.goals.map(keyword);
    case 'function':
      return vocabulary.functions.map((f) =>
        offer('function', f.name, f.source ?? '', { detail: f.world ?? '' }),
      );
    case 'policy':
      return words.policies.map(keyword);
    case 'expect':
      return words.expectKinds.map(keyword);
    case 'check':
      return vocabulary.checks.map((c) =>
        offer('invariant', c.id, c.why ?? c.summary, { detail: c.summary }),
      );
    case 'at':
      return [keyword(words.atKeyword)];
    case 'race':
    case 'title':
    case 'number':
    case 'operator':
    case 'field':
      return [];
  }
};

const fieldItems = (
  beside: string | undefined,
  path: string,
  offset: number,
  { layout }: Outline,
): CompletionItem[] => {
  const { typed, suggestions } = continuations(layout, path);
  const part = { offset: offset - typed, length: typed };
  const whole = { offset: offset - path.length, length: path.length };
  const fields = suggestions.map(
    (s): CompletionItem => ({
      ...offer('field', s.label, s.doc, { detail: s.detail, insertText: s.insert }),
      replace: part,
    }),
  );
  if (/[.[]/.test(path)) return fields;
  return [
    ...valueNames(layout, beside).map((name) => ({
      ...offer('value', name, `a value of ${beside}`),
      replace: whole,
    })),
    ...fields,
    ...expressionFunctions.map(({ name, doc }) => ({
      ...offer('function', name, doc, { insertText: `${name}()` }),
      replace: whole,
    })),
  ];
};

/** What may stand at the offset; the editor filters by what is typed already. */
export const complete = (
  text: string,
  offset: number,
  vocabulary: Vocabulary = emptyVocabulary,
): CompletionItem[] => {
  const { before, word, isQuoted } = around(text, offset);
  if (isQuoted) return [];
  const outline = outlineOf(text);
  const replace =
    word === undefined
      ? { offset, length: 0 }
      : { offset: word.startOffset, length: word.image.length };
  return placesBehind(before).flatMap((place): CompletionItem[] => {
    if (place.kind === 'field') {
      const path = word?.image.slice(0, offset - word.startOffset) ?? '';
      return fieldItems(place.beside, path, offset, outline);
    }
    return offersAt(place, outline, vocabulary).map((item) => ({ ...item, replace }));
  });
};
