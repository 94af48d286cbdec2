/** What the keywords of the language mean, for completion and hovering. */

export interface KeywordDoc {
  readonly word: string;
  readonly doc: string;
  /** what is inserted; the word itself unless given */
  readonly insert?: string;
}

/** Keywords that begin a section, in the order in which a scenario is usually written. */
export const sectionKeywords: readonly KeywordDoc[] = [
  { word: 'scenario', doc: 'the title of the scenario', insert: 'scenario ""' },
  { word: 'race', doc: 'the race that it shows, and which twin it is: buggy or fixed' },
  { word: 'profile', doc: 'a kernel release: presets every switch' },
  { word: 'set', doc: 'gives one switch another value than the profile does' },
  { word: 'about', doc: 'what there is to see, told as a story', insert: 'about """\n\n"""' },
  { word: 'machine', doc: 'the modelled computer', insert: 'machine { vcpus 1 }' },
  {
    word: 'schedule',
    insert: 'schedule {\n\n}',
    doc: 'who acts in which order: directives in braces, or `exact` and the choices of a run',
  },
  { word: 'expect', doc: 'what the run must show: `clean`, `violated`, `ends` or `final`' },
];

export const scheduleForms: readonly KeywordDoc[] = [
  { word: 'exact', doc: 'the choices of a run, such as "mm*14 vcpu0*33"', insert: 'exact ""' },
];

export const goals: readonly KeywordDoc[] = [
  { word: 'to', doc: 'until the actor stands before a step of the function' },
  { word: 'through', doc: 'until the actor has returned from the function' },
  { word: 'on', doc: 'until the actor ends or waits' },
];

export const thenKeyword: KeywordDoc = { word: 'then', doc: 'what chooses after the last line' };

export const policies: readonly KeywordDoc[] = [
  { word: 'round-robin', doc: 'each ready actor in turn, one step at a time' },
  { word: 'random', doc: 'by a generator with a seed', insert: 'random 1' },
  {
    word: 'random-stretches',
    doc: 'at random, each actor for a stretch of random length',
    insert: 'random-stretches 1',
  },
  {
    word: 'pct',
    doc: 'by random priorities, some of which fall at random steps',
    insert: 'pct 1',
  },
];

export const expectKinds: readonly KeywordDoc[] = [
  { word: 'clean', doc: 'no invariant breaks' },
  { word: 'violated', doc: 'the invariant breaks' },
  { word: 'ends', doc: 'how the run ends: quiet, deadlock, livelock …', insert: 'ends livelock' },
  { word: 'final', doc: 'the expression holds when the run has ended' },
];

export const atKeyword: KeywordDoc = {
  word: 'at',
  doc: 'in a step of the function, and of no other',
};

export const twinWords: readonly KeywordDoc[] = [
  { word: 'buggy', doc: 'the protection is off: the race goes wrong' },
  { word: 'fixed', doc: 'the same with the protection on' },
];

export const repeatKeyword: KeywordDoc = {
  word: 'repeat',
  doc: 'does the block so many times',
  insert: 'repeat 3 {  }',
};
