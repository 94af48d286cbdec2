/** What kind of word can stand at a place of the text: for completion, hovering and colours. */
import type { IToken } from 'chevrotain';
import type { ActorKind, InstructionSpec, Operand } from '../../state/program.ts';
import { actorOf } from '../compile/actors.ts';
import { type MachineKey, machineKeys } from '../compile/machine.ts';
import { specsOf } from '../compile/program.ts';
import { isOneOf, sectionsOf } from '../parse/sections.ts';
import { heads, sectionTokens } from '../parse/tokens.ts';

export type Place =
  | { readonly kind: 'section' }
  | { readonly kind: 'race' | 'twin' | 'profile' | 'switch' | 'machine-key' | 'title' }
  | { readonly kind: 'value'; readonly of: string }
  | { readonly kind: 'machine-value'; readonly of: MachineKey }
  | { readonly kind: 'instruction'; readonly by: ActorKind }
  | { readonly kind: 'operand'; readonly of: Operand; readonly spec: InstructionSpec }
  | { readonly kind: 'schedule' | 'actor' | 'goal' | 'function' | 'policy' | 'number' }
  | { readonly kind: 'expect' | 'check' | 'at' | 'operator' }
  /** a field; `beside` is the path that it is compared with */
  | { readonly kind: 'field'; readonly beside: string | undefined };

const isWord = (token: IToken): boolean => /^[A-Za-z0-9_]/.test(token.image);
const isClosed = (body: readonly IToken[]): boolean => {
  let depth = 0;
  for (const { image } of body) {
    if (image === '{') depth++;
    else if (image === '}' && --depth === 0) return true;
  }
  return false;
};

const section: Place = { kind: 'section' };

const inMachine = (body: readonly IToken[]): Place[] => {
  const words = body.filter(isWord).map(({ image }) => image);
  const keyAt = (at: number): MachineKey | undefined =>
    machineKeys.find(({ key }) => key === words[at]);
  for (let at = 0; at < words.length; ) {
    const key = keyAt(at++);
    if (key === undefined) continue;
    if (at === words.length) return [{ kind: 'machine-value', of: key }];
    // One word is the value, even if a key is called that; or all up to the next key.
    if (key.list === true) while (at < words.length && keyAt(at) === undefined) at++;
    else at++;
    if (key.list === true && at === words.length) {
      return [{ kind: 'machine-value', of: key }, { kind: 'machine-key' }];
    }
  }
  return [{ kind: 'machine-key' }];
};

const inProgram = (body: readonly IToken[], by: ActorKind): Place[] => {
  if (body.at(-1)?.image === 'repeat') return [{ kind: 'number' }];
  const specs = specsOf(by);
  const from = body.findLastIndex(({ image }) => specs.some(({ op }) => op === image));
  const spec = specs.find(({ op }) => op === body[from]?.image);
  const taken = body.length - 1 - from;
  const operand = spec?.operands[taken];
  const isPlain = body.slice(from + 1).every(isWord);
  return spec !== undefined && operand !== undefined && isPlain
    ? [{ kind: 'operand', of: operand, spec }]
    : [{ kind: 'instruction', by }];
};

/** The place behind the last word of a directive. */
const inSchedule = (body: readonly IToken[]): Place[] => {
  let place: Place['kind'] = 'actor';
  for (const { image } of body.slice(1)) {
    if (image.startsWith('"')) continue;
    if (place === 'actor') place = image === 'then' ? 'policy' : 'goal';
    else if (place === 'goal') place = image === 'to' || image === 'through' ? 'function' : 'actor';
    else if (place === 'policy') place = image === 'round-robin' ? 'actor' : 'number';
    else place = 'actor';
  }
  return [{ kind: place } as Place];
};

const isComparison = (token: IToken | undefined): boolean =>
  token !== undefined && /^(?:[!=]=|[<>]=?)$/.test(token.image);

const inExpression = (body: readonly IToken[]): Place[] => {
  const last = body.at(-1);
  if (last === undefined) return [{ kind: 'field', beside: undefined }];
  if (isWord(last) || last.image === ')') return [{ kind: 'operator' }, section];
  const beside = isComparison(last) ? body.at(-2)?.image : undefined;
  return [{ kind: 'field', beside }];
};

const inExpect = (words: readonly IToken[]): Place[] => {
  const [kind, ...rest] = words;
  switch (kind?.image) {
    case undefined:
      return [{ kind: 'expect' }];
    case 'final':
      return inExpression(rest);
    case 'violated':
      if (rest.length === 0) return [{ kind: 'check' }];
      if (rest.length === 1) return [{ kind: 'at' }, section];
      return rest.length === 2 ? [{ kind: 'function' }] : [section];
    default:
      return [section];
  }
};

const inBlock = (
  body: readonly IToken[],
  inside: (body: readonly IToken[]) => Place[],
): Place[] => {
  if (body.length === 0) return [];
  return isClosed(body) ? [section] : inside(body);
};

const simple: Readonly<Record<string, readonly Place['kind'][]>> = {
  scenario: ['title'],
  race: ['race', 'twin'],
  profile: ['profile'],
  about: ['title'],
};

const behind = (part: readonly IToken[]): Place[] => {
  const [head, ...body] = part;
  const word = head?.image ?? '';
  const kinds = simple[word];
  if (kinds !== undefined) {
    const kind = kinds[body.length];
    const place = kind === undefined ? [] : [{ kind } as Place];
    return body.length === 0 ? place : [...place, section];
  }
  switch (word) {
    case 'set': {
      if (body.length === 0) return [{ kind: 'switch' }];
      return body.length === 1 ? [{ kind: 'value', of: body[0]!.image }] : [section];
    }
    case 'machine':
      return inBlock(body, inMachine);
    case 'schedule':
      if (body.length === 0) return [{ kind: 'schedule' }];
      if (body[0]!.image === 'exact') return body.length === 1 ? [{ kind: 'title' }] : [section];
      return inBlock(body, inSchedule);
    case 'expect':
      return inExpect(body);
    default: {
      const actor = actorOf(word.replace(/\.l2$/, ''));
      if (body.length === 0 || body[0]!.image !== '{') return [section];
      return inBlock(body, (inner) => (actor === undefined ? [] : inProgram(inner, actor.kind)));
    }
  }
};

/** What can stand behind these tokens, the likeliest first. */
export const placesBehind = (tokens: readonly IToken[]): Place[] => {
  const part = sectionsOf(tokens).at(-1);
  if (part === undefined) return [section];
  const first = part[0]!;
  return isOneOf(first, sectionTokens) || isOneOf(first, heads) ? behind(part) : [section];
};
