/**
 * The words of the language. Behind `expect final` stands an expression, where `-` and `.` mean
 * something else than inside a name; the lexer has a mode of its own for it.
 */
import { createToken, type ITokenConfig, Lexer, type TokenType } from 'chevrotain';

const token = (config: ITokenConfig): TokenType => createToken(config);

export const WhiteSpace = token({
  name: 'WhiteSpace',
  pattern: /\s+/,
  group: Lexer.SKIPPED,
  line_breaks: true,
});
export const Comment = token({ name: 'Comment', pattern: /#[^\n]*/, group: 'comments' });

/** What can stand where a value or a name is wanted: all but the keywords that begin a section. */
export const Word = token({ name: 'Word', pattern: Lexer.NA });
export const Name = token({
  name: 'Name',
  label: 'a name',
  pattern: /[A-Za-z_][A-Za-z0-9_.-]*/,
  categories: [Word],
});
export const Integer = token({
  name: 'Integer',
  label: 'a number',
  pattern: /[0-9][0-9A-Za-z_]*/,
  categories: [Word],
});

export const LongString = token({
  name: 'LongString',
  label: '"""text"""',
  pattern: /"""[\s\S]*?"""/,
  line_breaks: true,
});
/** Reported as unclosed and otherwise taken as if it were closed. */
export const OpenLongString = token({
  name: 'OpenLongString',
  pattern: /"""[\s\S]*/,
  line_breaks: true,
  categories: [LongString],
});
export const ShortString = token({ name: 'ShortString', label: 'a "text"', pattern: /"[^"\n]*"/ });
export const OpenString = token({
  name: 'OpenString',
  pattern: /"[^"\n]*/,
  categories: [ShortString],
});

export const LBrace = token({ name: 'LBrace', label: '"{"', pattern: '{' });
export const RBrace = token({ name: 'RBrace', label: '"}"', pattern: '}' });
export const Junk = token({
  name: 'Junk',
  pattern: /[^\s"#{}A-Za-z0-9_]+/,
  line_breaks: false,
});

/** An actor where its program begins: a name, or what an expression would take for a path. */
export const Head = token({ name: 'Head', pattern: Lexer.NA });
export const Path = token({
  name: 'Path',
  label: 'a field',
  pattern: /[A-Za-z_][A-Za-z0-9_.[\]]*/,
  categories: [Head],
});
Name.CATEGORIES!.push(Head);

export const Binary = token({ name: 'Binary', label: 'an operator', pattern: Lexer.NA });
export const Operator = token({
  name: 'Operator',
  pattern: /==|!=|<=|>=|<<|>>|&&|\|\||[&|^+*<>]/,
  categories: [Binary],
});
export const Minus = token({ name: 'Minus', label: '"-"', pattern: '-', categories: [Binary] });
export const Not = token({ name: 'Not', label: '"!"', pattern: '!' });
export const LParen = token({ name: 'LParen', label: '"("', pattern: '(' });
export const RParen = token({ name: 'RParen', label: '")"', pattern: ')' });
const ExpressionJunk = token({
  name: 'ExpressionJunk',
  pattern: /[^\s"#{}A-Za-z0-9_()!=<>&|^+*-]+|[\s\S]/,
  line_breaks: false,
  categories: [Junk],
});

const keywordToken = (word: string, more: Partial<ITokenConfig>): TokenType =>
  token({
    name: `"${word}"`,
    label: `"${word}"`,
    pattern: new RegExp(word),
    longer_alt: Name,
    ...more,
  });

/** A keyword that begins a section: it can be nothing else, so that errors end there. */
const section = (word: string): TokenType => keywordToken(word, {});
/** A keyword that is one only at its place, and a value or a name elsewhere. */
const contextual = (word: string, more: Partial<ITokenConfig> = {}): TokenType =>
  keywordToken(word, { categories: [Word], ...more });

export const Scenario = section('scenario');
export const Race = section('race');
export const Profile = section('profile');
export const SetSwitch = section('set');
export const About = section('about');
export const Machine = section('machine');
export const Schedule = section('schedule');
export const Expect = section('expect');
export const Repeat = keywordToken('repeat', {});

export const Exact = contextual('exact');
export const Then = contextual('then');
export const Through = contextual('through');
export const To = contextual('to');
export const On = contextual('on');
export const Clean = contextual('clean');
export const Violated = contextual('violated');
export const At = contextual('at');
export const Ends = contextual('ends');
export const Final = contextual('final', { push_mode: 'expression' });

const sections = [Scenario, Race, Profile, SetSwitch, About, Machine, Schedule, Expect];
export const sectionTokens: ReadonlySet<unknown> = new Set<unknown>(sections);
export const words: ReadonlySet<unknown> = new Set<unknown>([Word]);
export const heads: ReadonlySet<unknown> = new Set<unknown>([Head]);
export const sectionWords: readonly string[] = sections.map((t) => (t.PATTERN as RegExp).source);

/** The same keyword inside an expression, which it ends. */
const ending = (type: TokenType): TokenType =>
  token({
    name: `${type.name} behind an expression`,
    pattern: type.PATTERN as RegExp,
    longer_alt: Path,
    categories: [type],
    pop_mode: true,
  });
const EndingBrace = token({
  name: '"{" behind an expression',
  pattern: '{',
  categories: [LBrace],
  pop_mode: true,
});

const everywhere = [
  WhiteSpace,
  Comment,
  LongString,
  OpenLongString,
  ShortString,
  OpenString,
  Integer,
];
const modes = {
  scenario: [
    ...everywhere,
    ...sections,
    Repeat,
    Exact,
    Then,
    Through,
    To,
    On,
    Clean,
    Violated,
    At,
    Ends,
    Final,
    Name,
    LBrace,
    RBrace,
    Junk,
  ],
  expression: [
    ...everywhere,
    ...sections.map(ending),
    EndingBrace,
    RBrace,
    Path,
    Operator,
    Minus,
    Not,
    LParen,
    RParen,
    ExpressionJunk,
  ],
};

/** For the parser, which knows the token types without the modes. */
export const allTokens: TokenType[] = [
  ...new Set([...modes.scenario, ...modes.expression, Word, Head, Binary]),
];

let lexer: Lexer | undefined;

/** Made when it is first needed: it costs some milliseconds. */
export const scenarioLexer = (): Lexer => {
  lexer ??= new Lexer(
    { modes, defaultMode: 'scenario' },
    {
      positionTracking: 'onlyOffset',
      ensureOptimizations: false,
    },
  );
  return lexer;
};
