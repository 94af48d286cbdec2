/**
 * The grammar; each rule returns its part of the tree. What the words mean is not its business:
 * a program and a machine are lists of words here, so that a wrong word spoils nothing else.
 */
import { spanning } from '../diagnostics.ts';
import { ExpressionParser, kept, lost, wordOf } from './expression_grammar.ts';
import type { ErrorMessages } from './messages.ts';
import { spanOfToken as spanOf } from './sections.ts';
import * as t from './tokens.ts';
import type {
  ExpectTree,
  GoalKind,
  Line,
  Policy,
  ProgramItem,
  Section,
  Text,
  Word,
} from './tree.ts';

export class ScenarioParser extends ExpressionParser {
  constructor(messages: ErrorMessages) {
    super(messages);
    this.performSelfAnalysis();
  }

  readonly section = this.RULE(
    'section',
    (): Section | undefined =>
      this.OR([
        { ALT: () => this.SUBRULE(this.title) },
        { ALT: () => this.SUBRULE(this.race) },
        { ALT: () => this.SUBRULE(this.profile) },
        { ALT: () => this.SUBRULE(this.set) },
        { ALT: () => this.SUBRULE(this.about) },
        { ALT: () => this.SUBRULE(this.machine) },
        { ALT: () => this.SUBRULE(this.schedule) },
        { ALT: () => this.SUBRULE(this.expect) },
        { ALT: () => this.SUBRULE(this.program) },
      ]),
    lost,
  );

  readonly title = this.RULE(
    'title',
    (): Section | undefined => {
      const head = this.CONSUME(t.Scenario);
      const title = this.SUBRULE(this.text);
      return title && { kind: 'scenario', title, ...this.since(head) };
    },
    lost,
  );

  readonly race = this.RULE(
    'race',
    (): Section | undefined => {
      const head = this.CONSUME(t.Race);
      const race = wordOf(this.CONSUME(t.Word));
      const twin = this.OPTION(() => wordOf(this.CONSUME(t.Name)));
      return { kind: 'race', race, twin, ...this.since(head) };
    },
    lost,
  );

  readonly profile = this.RULE(
    'profile',
    (): Section | undefined => {
      const head = this.CONSUME(t.Profile);
      const profile = wordOf(this.CONSUME(t.Word));
      return { kind: 'profile', profile, ...this.since(head) };
    },
    lost,
  );

  readonly set = this.RULE(
    'set',
    (): Section | undefined => {
      const head = this.CONSUME(t.SetSwitch);
      const id = wordOf(this.CONSUME(t.Word));
      const value = wordOf(this.CONSUME2(t.Word));
      return { kind: 'set', id, value, ...this.since(head) };
    },
    lost,
  );

  readonly about = this.RULE(
    'about',
    (): Section | undefined => {
      const head = this.CONSUME(t.About);
      const text = this.SUBRULE(this.text);
      return text && { kind: 'about', text, ...this.since(head) };
    },
    lost,
  );

  readonly machine = this.RULE(
    'machine',
    (): Section | undefined => {
      const words: Word[] = [];
      const head = this.CONSUME(t.Machine);
      this.CONSUME(t.LBrace);
      this.MANY(() => {
        words.push(wordOf(this.CONSUME(t.Word)));
      });
      this.CONSUME(t.RBrace);
      return { kind: 'machine', words, ...this.since(head) };
    },
    lost,
  );

  readonly program = this.RULE(
    'program',
    (): Section | undefined => {
      const actor = wordOf(this.CONSUME(t.Head));
      const body = this.SUBRULE(this.block);
      return (
        body && {
          kind: 'program',
          actor,
          body,
          ...spanning(actor, spanOf(this.LA(0))),
          head: actor,
        }
      );
    },
    lost,
  );

  readonly block = this.RULE(
    'block',
    (): ProgramItem[] | undefined => {
      const body: ProgramItem[] = [];
      this.CONSUME(t.LBrace);
      this.MANY(() => {
        const item = this.OR([
          { ALT: () => this.SUBRULE(this.repeat) },
          { ALT: (): ProgramItem => ({ kind: 'word', word: wordOf(this.CONSUME(t.Word)) }) },
        ]);
        this.ACTION(() => kept(body, item));
      });
      this.CONSUME(t.RBrace);
      return body;
    },
    lost,
  );

  readonly repeat = this.RULE(
    'repeat',
    (): ProgramItem | undefined => {
      const head = this.CONSUME(t.Repeat);
      const count = this.OPTION(() => wordOf(this.CONSUME(t.Word)));
      const body = this.SUBRULE(this.block);
      return body && { kind: 'repeat', count, body, ...this.since(head) };
    },
    lost,
  );

  readonly schedule = this.RULE(
    'schedule',
    (): Section | undefined => {
      const head = this.CONSUME(t.Schedule);
      return this.OR([
        {
          ALT: (): Section | undefined => {
            this.CONSUME(t.Exact);
            const text = this.SUBRULE(this.text);
            return text && { kind: 'exact', text, ...this.since(head) };
          },
        },
        {
          ALT: (): Section => {
            const lines: Line[] = [];
            this.CONSUME(t.LBrace);
            this.MANY(() => {
              const line = this.SUBRULE(this.line);
              this.ACTION(() => kept(lines, line));
            });
            const policy = this.OPTION(() => this.SUBRULE(this.policy));
            this.CONSUME(t.RBrace);
            return { kind: 'schedule', lines, policy, ...this.since(head) };
          },
        },
      ]);
    },
    lost,
  );

  readonly line = this.RULE(
    'line',
    (): Line | undefined => {
      const actor = wordOf(this.CONSUME(t.Name));
      let argument: Word | undefined;
      let label: Text | undefined;
      const goal = this.OR([
        {
          ALT: (): GoalKind => {
            const verb = this.OR2([
              {
                ALT: (): GoalKind => {
                  this.CONSUME(t.To);
                  return 'to';
                },
              },
              {
                ALT: (): GoalKind => {
                  this.CONSUME(t.Through);
                  return 'through';
                },
              },
            ]);
            argument = wordOf(this.CONSUME2(t.Name));
            label = this.OPTION(() => this.SUBRULE(this.text));
            return verb;
          },
        },
        {
          ALT: (): GoalKind => {
            this.CONSUME(t.On);
            return 'on';
          },
        },
        {
          ALT: (): GoalKind => {
            argument = wordOf(this.CONSUME(t.Integer));
            return 'steps';
          },
        },
      ]);
      return { actor, goal, argument, label, ...spanning(actor, spanOf(this.LA(0))) };
    },
    lost,
  );

  readonly policy = this.RULE(
    'policy',
    (): Policy | undefined => {
      const head = this.CONSUME(t.Then);
      const name = wordOf(this.CONSUME(t.Name));
      const seed = this.OPTION(() => wordOf(this.CONSUME(t.Integer)));
      return { name, seed, ...this.since(head) };
    },
    lost,
  );

  readonly expect = this.RULE(
    'expect',
    (): Section | undefined => {
      const head = this.CONSUME(t.Expect);
      const expect = this.OR([
        {
          ALT: (): ExpectTree => {
            this.CONSUME(t.Clean);
            return { kind: 'clean' };
          },
        },
        { ALT: () => this.SUBRULE(this.violated) },
        {
          ALT: (): ExpectTree => {
            this.CONSUME(t.Ends);
            return { kind: 'ends', halt: wordOf(this.CONSUME(t.Word)) };
          },
        },
        {
          ALT: (): ExpectTree | undefined => {
            this.CONSUME(t.Final);
            const expression = this.SUBRULE(this.expression);
            return expression && { kind: 'final', expression };
          },
        },
      ]);
      return expect && { kind: 'expect', expect, ...this.since(head) };
    },
    lost,
  );

  readonly violated = this.RULE(
    'violated',
    (): ExpectTree | undefined => {
      this.CONSUME(t.Violated);
      const check = wordOf(this.CONSUME(t.Name));
      let name: Word | undefined;
      let label: Text | undefined;
      this.OPTION(() => {
        this.CONSUME(t.At);
        name = wordOf(this.CONSUME2(t.Name));
        label = this.OPTION2(() => this.SUBRULE(this.text));
      });
      return { kind: 'violated', check, function: name, label };
    },
    lost,
  );
}
