/** Sentences for what the parser did not expect. */
import type { IParserErrorMessageProvider, IRecognitionException, IToken } from 'chevrotain';
import { nearest, type Problem } from '../diagnostics.ts';
import { spanOfToken as spanOf } from './sections.ts';
import { sectionWords } from './tokens.ts';

/** Thrown through the parser when nobody would read more errors. */
export class TooManyErrors extends Error {}

/** Chevrotain asks for a message before it says where: the label of what was expected must do. */
export const messagesUpTo = (errorsMax: number): ErrorMessages => {
  let left = errorsMax;
  const counted = (message: string): string => {
    if (left-- === 0) throw new TooManyErrors();
    return message;
  };
  return {
    restart: () => {
      left = errorsMax;
    },
    buildMismatchTokenMessage: ({ expected }) => counted(expected.LABEL ?? expected.name),
    buildNotAllInputParsedMessage: () => counted(''),
    buildNoViableAltMessage: () => counted(''),
    buildEarlyExitMessage: () => counted(''),
  };
};

export interface ErrorMessages extends IParserErrorMessageProvider {
  /** before each text */
  restart(): void;
}

/** What may stand at the place where a rule did not find its way. */
const wanted: Readonly<Record<string, string>> = {
  section: 'a keyword such as machine, or an actor with its program in braces',
  race: 'a race such as R01',
  profile: 'a profile such as k6.6',
  set: 'a switch and its value, such as "set apic-reload-retry off"',
  text: 'a text in quotes',
  machine: 'a key and its value, such as "vcpus 1"',
  program: '"{" and what the actor does',
  block: 'an instruction or "}"',
  repeat: 'a count and "{", as in "repeat 3 { pause }"',
  schedule: '"{" with directives, or "exact" and a schedule in quotes',
  line: 'to FUNCTION, through FUNCTION, on, or a number of steps',
  policy: '"round-robin", or "random" and a seed',
  expect: '"clean", "violated" and an invariant, or "final" and an expression',
  violated: 'an invariant such as inv-apic-access-hpa',
  expression: 'an operator, or the end of the expression',
  unary: 'a field, a number or "("',
  primary: 'a field, a number or "("',
  pathOrCall: '")"',
  onlyExpression: 'an operator, or the end of the expression',
};

const shown = (text: string): string =>
  `"${text.length > 40 ? `${text.slice(0, 40)}…` : text}"`.replace(/^""(.*)""$/, '"$1"');

/** The end of the text has no place of its own. */
const isPlaced = (token: IToken | undefined): token is IToken =>
  token !== undefined && token.startOffset >= 0;

/** A word that begins no section, where one was finished. */
const strayMessage = (token: IToken): string => {
  const meant = nearest(token.image, sectionWords);
  if (meant !== undefined) {
    return `${shown(token.image)} begins no part of a scenario; did you mean "${meant}"?`;
  }
  return (
    `${shown(token.image)} cannot stand here; ` +
    'write a keyword such as machine, or an actor with its program in braces'
  );
};

export interface ErrorPlace {
  /** the rule that the parse began with */
  readonly start: 'section' | 'onlyExpression';
  /** the last token of the part of the text that was parsed, and the first behind it */
  readonly previous: IToken | undefined;
  readonly next: IToken | undefined;
  /** the innermost brace of this part without a partner */
  readonly open: IToken | undefined;
}

/** The problem behind an error of the parser. */
export const problemOf = (error: IRecognitionException, place: ErrorPlace): Problem => {
  const rule = error.context.ruleStack.at(-1);
  const atEnd = !isPlaced(error.token);
  if (atEnd && place.open !== undefined) {
    const { image } = place.open;
    return { ...spanOf(place.open), message: `this "${image}" is not closed; add its partner` };
  }
  const rules = error.context.ruleStack;
  if (rules.at(-2) === 'program' && error.message === '"{"') {
    const head = (error as { previousToken?: IToken }).previousToken!;
    return { ...spanOf(head), message: strayMessage(head) };
  }
  const instead = `write ${wanted[rule ?? place.start]}`;
  const token = atEnd ? place.next : error.token;
  if (token === undefined) {
    const span = place.previous === undefined ? { offset: 0, length: 0 } : spanOf(place.previous);
    return { ...span, message: `the text ends too early; ${instead}` };
  }
  const message =
    (rule ?? place.start) === 'section'
      ? strayMessage(token)
      : `${shown(token.image)} cannot stand here; ${instead}`;
  return { ...spanOf(token), message };
};
