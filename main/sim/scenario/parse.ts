/**
 * Text of a scenario → tree and syntax diagnostics. Never throws; a scenario reads
 *
 *     scenario "title"                     # one or more strings side by side
 *     race R01 buggy                       # which race, and which of its twins
 *     profile k6.6                         # presets the switches
 *     set SWITCH VALUE                     # differs from the profile, any number
 *     about """ what to see here """
 *     machine { vcpus 1  memory 4 … }      # keys and values
 *     vcpu0 { read 0x1000  repeat 3 { pause }  hlt }
 *     mm { migrate apic-access-page }      # one block for each actor: what it does
 *     schedule { ACTOR to FUNCTION "part of a label"   ACTOR through FUNCTION
 *                ACTOR on   ACTOR 5   then round-robin | then random 7 }
 *     schedule exact "mm*14 vcpu0*33"      # instead of directives
 *     expect clean | violated INVARIANT at FUNCTION "part of a label" | final EXPRESSION
 *
 * in any order. White space only separates words; a comment runs from `#` to the end of the line.
 */
import type { IToken } from 'chevrotain';
import { diagnosticsMax, type Problem } from './diagnostics.ts';
import { ScenarioParser } from './parse/grammar.ts';
import { messagesUpTo, problemOf, TooManyErrors } from './parse/messages.ts';
import {
  closing,
  isOneOf,
  openBraces,
  opening,
  sectionsOf,
  spanOfToken,
} from './parse/sections.ts';
import * as t from './parse/tokens.ts';
import type { ExpressionTree, Section } from './parse/tree.ts';

export const parseLimits = {
  /** characters of a scenario */
  characters: 1_000_000,
  /** words, numbers and signs of a scenario */
  tokens: 50_000,
  /** braces or parentheses inside each other */
  nesting: 64,
  /** characters of an expression */
  expression: 4_096,
} as const;

export interface Parsed<T> {
  readonly tree: T;
  readonly problems: readonly Problem[];
}

const messages = messagesUpTo(diagnosticsMax);
let parser: ScenarioParser | undefined;

/** Made when it is first needed: analysing the grammar costs some milliseconds. */
const theParser = (): ScenarioParser => (parser ??= new ScenarioParser(messages));

/** Signs that mean nothing, side by side, are one problem. */
const junkProblems = (text: string, tokens: readonly IToken[]): Problem[] => {
  const spans: { offset: number; length: number }[] = [];
  for (const token of tokens) {
    if (!isJunk(token)) continue;
    const last = spans.at(-1);
    if (last !== undefined && last.offset + last.length === token.startOffset) {
      last.length += token.image.length;
    } else spans.push(spanOfToken(token));
  }
  return spans.map((span) => ({
    ...span,
    message:
      text.slice(span.offset, span.offset + span.length) === '='
        ? 'this means nothing here; write == to compare'
        : 'this means nothing here; remove it',
  }));
};

const isJunk = (token: IToken): boolean =>
  token.tokenType === t.Junk || token.tokenType.CATEGORIES!.includes(t.Junk);

const openStrings = (tokens: readonly IToken[]): Problem[] =>
  tokens.flatMap((token) => {
    if (token.tokenType === t.OpenString) {
      return [
        { ...spanOfToken(token), message: 'this text is not closed; add " before the line ends' },
      ];
    }
    return token.tokenType === t.OpenLongString
      ? [{ offset: token.startOffset, length: 3, message: 'this text is not closed; add """' }]
      : [];
  });

/** What the parser should not have to bear. */
const excess = (part: readonly IToken[]): Problem | undefined => {
  let depth = 0;
  for (const token of part) {
    if (isOneOf(token, opening)) depth++;
    else if (isOneOf(token, closing)) depth--;
    if (depth > parseLimits.nesting) {
      const message = `this nests deeper than ${parseLimits.nesting} levels; write it flatter`;
      return { ...spanOfToken(token), message };
    }
  }
  return undefined;
};

/** Of errors in one line only the first counts, and none if a sign in it is wrong already. */
const firstOfEachLine = (
  text: string,
  errors: readonly Problem[],
  signs: readonly Problem[],
): Problem[] => {
  const lineOf = ({ offset }: Problem): number => text.lastIndexOf('\n', offset - 1);
  const lines = new Set(signs.slice(0, diagnosticsMax).map(lineOf));
  return [...errors]
    .sort((a, b) => a.offset - b.offset)
    .filter((error) => {
      const line = lineOf(error);
      if (lines.has(line)) return false;
      lines.add(line);
      return true;
    });
};

/** The rules that a parse can begin with, and what they give. */
interface TreeOf {
  readonly section: Section;
  readonly onlyExpression: ExpressionTree;
}
type Start = keyof TreeOf;

/** Runs one rule over tokens; more errors than anybody reads end it. */
const parsePart = <S extends Start>(
  start: S,
  tokens: IToken[],
  next: IToken | undefined,
): Parsed<TreeOf[S] | undefined> => {
  const problem = excess(tokens);
  if (problem !== undefined) return { tree: undefined, problems: [problem] };
  const used = theParser();
  messages.restart();
  used.input = tokens;
  let tree: TreeOf[S] | undefined;
  try {
    tree = (used[start] as () => TreeOf[S] | undefined)();
  } catch (error) {
    if (!(error instanceof TooManyErrors)) throw error;
  }
  const place = { start, previous: tokens.at(-1), next, open: openBraces(tokens).at(-1) };
  const problems = used.errors.map((error) => problemOf(error, place));
  used.reset();
  return { tree, problems };
};

const tooLong = (text: string, max: number, what: string): Problem | undefined =>
  text.length <= max
    ? undefined
    : {
        offset: max,
        length: text.length - max,
        message: `${what} has at most ${max} characters, not ${text.length}; shorten it`,
      };

const lexed = (
  text: string,
  mode: 'scenario' | 'expression',
): { tokens: IToken[]; signs: Problem[] } => {
  const { tokens } = t.scenarioLexer().tokenize(text, mode);
  const signs = [...junkProblems(text, tokens), ...openStrings(tokens)];
  const useful = tokens.filter((token) => !isJunk(token));
  const first = useful[parseLimits.tokens];
  if (first !== undefined) {
    const message = `a scenario has at most ${parseLimits.tokens} words; cut it here`;
    signs.push({ ...spanOfToken(first), message });
  }
  return { tokens: useful.slice(0, parseLimits.tokens), signs };
};

/** The sections of a scenario in order, and everything that is wrong with its form. */
export const parseScenario = (text: string): Parsed<readonly Section[]> => {
  const problem = tooLong(text, parseLimits.characters, 'a scenario');
  if (problem !== undefined) return { tree: [], problems: [problem] };
  const { tokens, signs } = lexed(text, 'scenario');
  const parts = sectionsOf(tokens);
  const tree: Section[] = [];
  const errors: Problem[] = [];
  for (const [i, part] of parts.entries()) {
    const parsed = parsePart('section', part, parts[i + 1]?.[0]);
    if (parsed.tree !== undefined) tree.push(parsed.tree);
    errors.push(...parsed.problems);
    if (errors.length > diagnosticsMax) break;
  }
  return { tree, problems: [...signs, ...firstOfEachLine(text, errors, signs)] };
};

/** A text that is one expression. */
export const parseExpression = (text: string): Parsed<ExpressionTree | undefined> => {
  const problem = tooLong(text, parseLimits.expression, 'an expression');
  if (problem !== undefined) return { tree: undefined, problems: [problem] };
  const { tokens, signs } = lexed(text, 'expression');
  const { tree, problems } = parsePart('onlyExpression', tokens, undefined);
  return { tree, problems: [...signs, ...firstOfEachLine(text, problems, signs)] };
};
